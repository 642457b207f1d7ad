#!/bin/sh
# Matches many customers in one call, and goes on where it was cut: sh batch.sh FILE, with the body of a match on each line
set -eu
url=${CUSTOMER_MATCH_URL:-http://127.0.0.1:8080}
key=${CUSTOMER_MATCH_KEY:-PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE}
file=$1

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
number() { printf '%s' "$2" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }

first=1
# Calls in a row that came no further.
attempt=0
while [ "$attempt" -lt 5 ]; do
  attempt=$((attempt + 1))
  # -T sends the file as it is read; curl prints the answer, a line for each rejected line, as it comes. The key goes as a header: an
  # address ends up in logs.
  tail -n +"$first" "$file" |
    curl --silent --show-error --no-buffer -X POST -T - "$url/api/v1/customer/customer-match-customer-batch" \
      -H "Authorization: Bearer $key" -H "Content-Type: application/x-ndjson" >"$answer" || true
  last=$(tail -n 1 "$answer")
  case $last in
    '{"lines":'*)
      [ "$first" = 1 ] || echo "the numbers of lines count from line $first on" >&2
      grep '^{"line":' "$answer" >&2 || true
      echo "written: $last"
      exit
      ;;
    # The line to go on from; all before it have finished.
    '{"line":'*)
      grep '^{"line":' "$answer" >&2
      [ "$(number line "$last")" = 1 ] || attempt=0
      first=$((first + $(number line "$last") - 1))
      ;;
    *PUBLIC_API_KEY_TOO_MANY_REQUEST* | *INTERNAL_SERVICE_UNAVAILABLE* | '') ;;
    *) break ;;
  esac
  wait=$(number retryAfter "$last")
  sleep "${wait:-$((attempt + 1))}"
done
echo "${last:-no answer from $url}" >&2
exit 1
