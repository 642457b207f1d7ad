"""The six things that the API's contract has and an OpenAPI document cannot say. Everything else is checked as schemathesis does it."""

import ipaddress
import re

import schemathesis
from schemathesis.specs.openapi import checks

# A key that is missing or wrong is answered by 404, as documented, and not by 401.
checks.AUTH_REJECTION_STATUSES = {*checks.AUTH_REJECTION_STATUSES, 404}


@schemathesis.hook
def map_query(context, query):
    """Waits for no change: a call may be held for a minute."""
    if (query or {}).get("wait") in range(1, 61):
        query["wait"] = 0
    return query


@schemathesis.check
def valid_is_accepted(context, response, case):
    """positive_data_acceptance, but for rules that join two fields: what breaks one must be refused."""
    if is_managers_own_email(response, case) or is_strict(response, case):
        return None
    if case.meta is None or not case.meta.generation.mode.is_positive or keeps_joint_rules(case):
        return checks.positive_data_acceptance(context, response, case)
    assert response.status_code in (404, 422), f"breaks a rule and is answered by {response.status_code}"


@schemathesis.check
def invalid_is_refused(context, response, case):
    """negative_data_rejection, but a parameter without a value is as good as none, and a batch is answered all the same."""
    # An element that is invalid is rejected on a line of the answer.
    if case.operation.path.endswith("-batch") and response.status_code == 200:
        return None
    if any(isinstance(value, str) and not value.strip() for value in (case.query or {}).values()):
        return None
    return checks.negative_data_rejection(context, response, case)


def keeps_joint_rules(case):
    path, body, query = case.operation.path, case.body, case.query or {}
    if path.endswith("/customer-match-customer"):
        named = [body.get("customerCuRefNo"), body.get("customerEmail")]
        return named != [None, None] and body["managerCuRefNo"] != named[0]
    if path.endswith("/customer-unmatch-customer"):
        return body["managerCuRefNo"] != body["customerCuRefNo"]
    if path.endswith("/create"):
        return is_ip(body.get("customerRealIp"))
    if path.endswith("/update-profile"):
        return [body.get("cuRefNo"), body.get("email")] != [None, None] and is_ip(body.get("customerRealIp"))
    if path.endswith("/customer/list"):
        return is_cursor(query.get("cursor"))
    if path.endswith("/matched-customer-list"):
        return bool(query.get("identityId")) != bool(query.get("cuRefNo")) and is_cursor(query.get("cursor"))
    if path.endswith("/match-changes"):
        return is_cursor(query.get("cursor"))
    return True


def is_managers_own_email(response, case):
    """Whose an address is, the server alone knows."""
    if response.status_code != 422 or not case.operation.path.endswith("/customer-match-customer"):
        return False
    by_email = isinstance(case.body, dict) and case.body.get("customerCuRefNo") is None
    return by_email and "matched with itself" in response.text


def is_strict(response, case):
    """Whether only unknown members are invalid, which the document allows and this request does not."""
    prefer = dict(case.headers or {}).get("Prefer", "")
    if response.status_code != 422 or "handling=strict" not in str(prefer):
        return False
    errors = response.json()["error"].get("errors", [])
    return errors != [] and all("is unknown" in error["description"] for error in errors)


def is_ip(text):
    """What a pattern cannot say of an IP address. A blank one is none."""
    if not text or not text.strip():
        return True
    try:
        ipaddress.ip_address(re.sub(r"^\[(.*)\](:\d+)?$", r"\1", text.strip()))
    except ValueError:
        return re.fullmatch(r"\s*\d+\.\d+\.\d+\.\d+:\d+\s*", text) is not None
    return True


def is_cursor(text):
    """Signed by the server, so none that is made up is one. A blank one is absent."""
    return not text or not text.strip()
