"""Matches two customers: python3 python.py [managerCuRefNo customerCuRefNo]"""

import json
import os
import sys
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

URL = os.environ.get("CUSTOMER_MATCH_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("CUSTOMER_MATCH_KEY", "PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE")


class ApiError(Exception):
    def __init__(self, error, request_id):
        super().__init__(f"{error['code']}: {error['message']} {error['description']}")
        self.code = error["code"]
        self.field = error.get("field")
        self.request_id = request_id


def post(path, body, attempts=5):
    """Posts to an endpoint; a server that is busy is asked again when it says so. Any call may be sent again."""
    # The key goes as a header: an address ends up in logs.
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = Request(URL + path, json.dumps(body).encode(), headers)
    for attempt in range(1, attempts + 1):
        try:
            with urlopen(request, timeout=30) as response:
                return json.load(response)
        except HTTPError as refusal:
            if refusal.code not in (429, 503) or attempt == attempts:
                raise ApiError(json.load(refusal)["error"], refusal.headers["X-Request-Id"]) from None
            time.sleep(int(refusal.headers.get("Retry-After", 1)))


def main():
    manager, customer = sys.argv[1:] or ["1cGIHvFoQDGLAbcA", "5CmsaVNgAQqRqoen"]
    relation = {
        "managerCuRefNo": manager,
        "customerCuRefNo": customer,
        "notice": "Customer prefers cardio training. Contact obtained via the website.",
    }
    try:
        print("matched:", post("/api/v1/customer/customer-match-customer", relation))
    except ApiError as error:
        if error.code == "INTERNAL_RESOURCE_NOT_FOUND":
            advice = "one of the two customers does not exist"
        elif error.code == "INTERNAL_VALIDATION_FAILED":
            advice = f"correct {error.field}, sending it again will not help"
        elif error.code in ("PUBLIC_API_KEY_TOO_MANY_REQUEST", "INTERNAL_SERVICE_UNAVAILABLE"):
            advice = "still busy, try again later"
        elif error.code.startswith("PUBLIC_API_KEY_"):
            advice = "tell whoever looks after the API key"
        else:
            advice = f"request {error.request_id}"
        sys.exit(f"{error}: {advice}")


main()
