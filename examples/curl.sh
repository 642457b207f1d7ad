#!/bin/sh
# Matches two customers: sh curl.sh [managerCuRefNo customerCuRefNo]
set -eu
url=${CUSTOMER_MATCH_URL:-http://127.0.0.1:8080}
key=${CUSTOMER_MATCH_KEY:-PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE}
manager=${1:-1cGIHvFoQDGLAbcA}
customer=${2:-5CmsaVNgAQqRqoen}

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
# --retry waits as long as Retry-After says. The key goes as a header: an address ends up in logs.
if curl --silent --show-error --fail-with-body --max-time 30 --retry 4 --output "$answer" \
  -X POST "$url/api/v1/customer/customer-match-customer" \
  -H "Authorization: Bearer $key" \
  -H "Content-Type: application/json" \
  -d "{\"managerCuRefNo\":\"$manager\",\"customerCuRefNo\":\"$customer\",
       \"notice\":\"Customer prefers cardio training. Contact obtained via the website.\"}"
then
  echo "matched: $(cat "$answer")"
  exit
fi

code=$(sed -n 's/.*"code":"\([A-Z_]*\)".*/\1/p' "$answer")
case $code in
  INTERNAL_RESOURCE_NOT_FOUND) echo "$code: one of the two customers does not exist" ;;
  INTERNAL_VALIDATION_FAILED) echo "$code: the request is wrong, sending it again will not help" ;;
  PUBLIC_API_KEY_TOO_MANY_REQUEST | INTERNAL_SERVICE_UNAVAILABLE) echo "$code: still busy, try again later" ;;
  PUBLIC_API_KEY_*) echo "$code: tell whoever looks after the API key" ;;
  '') echo "no answer from $url" ;;
  *) echo "$code: see $url/errors/$code" ;;
esac >&2
cat "$answer" >&2
exit 1
