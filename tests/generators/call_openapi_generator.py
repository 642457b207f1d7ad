"""A call by the client that openapi-generator makes."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "generated", "openapi-generator", "python"))

from openapi_client import ApiClient, Configuration, CreateRequest, CustomerApi, MatchRequest
from openapi_client.exceptions import UnprocessableEntityException

configuration = Configuration(host=os.environ["CUSTOMER_MATCH_URL"], access_token="PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE")
with ApiClient(configuration) as client:
    api = CustomerApi(client)
    pair = MatchRequest(manager_cu_ref_no="1cGIHvFoQDGLAbcA", customer_cu_ref_no="5CmsaVNgAQqRqoen")
    answer = api.match_customers(pair, prefer="return=representation")
    assert answer.success and answer.relation.customer_email == "jan@barasek.com", answer

    created = api.create_customer(CreateRequest(email="eva@example.com", customer_real_ip="[2001:db8::7]:443"))
    assert created.email == "eva@example.com", created

    itself = MatchRequest(manager_cu_ref_no="1cGIHvFoQDGLAbcA", customer_cu_ref_no="1cGIHvFoQDGLAbcA")
    try:
        api.match_customers(itself)
        raise AssertionError("a customer was matched with itself")
    except UnprocessableEntityException as refusal:
        assert refusal.data.error.errors[0].var_field == "/customerCuRefNo", refusal

print(f"openapi-generator, Python: {answer.outcome.value}")
