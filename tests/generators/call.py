"""A call by the generated client."""

import os

from generated.client import AuthenticatedClient
from generated.client.api.customer import post_api_v1_customer_customer_match_customer as match
from generated.client.models import ErrorEnvelope, MatchRequest, MatchResponse

with AuthenticatedClient(os.environ["CUSTOMER_MATCH_URL"], token="PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE") as api:
    pair = MatchRequest(manager_cu_ref_no="1cGIHvFoQDGLAbcA", customer_cu_ref_no="5CmsaVNgAQqRqoen")
    answer = match.sync(client=api, body=pair, prefer="return=representation")
    assert isinstance(answer, MatchResponse) and answer.success, answer
    assert answer.relation.customer_email == "jan@barasek.com", answer

    unknown = MatchRequest(manager_cu_ref_no="1cGIHvFoQDGLAbcA", customer_cu_ref_no="0000000000000000")
    refusal = match.sync(client=api, body=unknown)
    assert isinstance(refusal, ErrorEnvelope) and refusal.error.code == "INTERNAL_RESOURCE_NOT_FOUND", refusal

print(f"Python: {answer.outcome.value}")
