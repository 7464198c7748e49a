"""The OpenAPI document is public and true: what is answered is what it says, whatever is sent."""

from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.api_calls import Caller, Callers, body

EXAMPLES = 12
Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]
DECIDING = frozenset({"showDecision", "approveRequest", "rejectRequest", "endRequest", "validateDomain"})
TRUTHS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_whatever_is_sent_is_answered_as_described(users: Callers) -> None:
    document = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", WSGIHandler())
    tried = []
    for result in document.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        name = operation.definition.raw["operationId"]
        _hold(operation, users.olga if name in DECIDING else users.alice)
        tried.append(name)
    assert len(tried) > 15


def _hold(operation: Operation, who: Caller) -> None:
    """Hold one operation to what the document says of it."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def hold(case: Case) -> None:
        case.call_and_validate(checks=TRUTHS, headers={"Authorization": f"Bearer {who.token}"})

    hold()


def test_the_document_is_public_and_complete(users: Callers) -> None:
    reply = users.nobody.get("/openapi.json")
    assert reply.status == 200
    told = reply.json
    operations = [
        (path, method, operation)
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
    ]
    ids = [operation["operationId"] for _path, _method, operation in operations]
    assert len(ids) == len(set(ids))
    assert all("_" not in name for name in ids), "an operation without a name of its own"
    for path, method, operation in operations:
        where = f"{method} {path}"
        assert operation["security"] == [{"BearerToken": []}], where
        assert {"401", "500"} <= set(operation["responses"]), where
        if "{" in path:
            assert "404" in operation["responses"], where
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert "application/problem+json" in response["content"], where
        if method == "post":
            assert {"400", "415", "422"} <= set(operation["responses"]), where


@pytest.mark.parametrize(
    "path, template",
    [
        ("/requests", "/requests"),
        ("/requests/{number}", "/requests/{number}"),
        ("/certificates", "/certificates"),
        ("/organisations", "/organisations"),
        ("/organisations/example-university/members", "/organisations/{slug}/members"),
        ("/domains", "/domains"),
        ("/domains/{domain}", "/domains/{domain_id}"),
        ("/domains/{domain}/deadlines", "/domains/{domain_id}/deadlines"),
        ("/domains/{domain}/validations", "/domains/{domain_id}/validations"),
        ("/tokens", "/tokens"),
    ],
)
def test_answers_have_exactly_the_members_described(users: Callers, path: str, template: str) -> None:
    number = users.alice.post("/requests", body("one.example.ac.uk", "two.example.ac.uk")).json["id"]
    domain = users.alice.get("/domains").json["items"][0]["id"]
    told = users.meg.get(path.format(number=number, domain=domain))
    document = users.nobody.get("/openapi.json").json
    responses = document["paths"]["/api/v1" + template]["get"]["responses"]
    _exactly(told.json, responses["200"]["content"]["application/json"]["schema"], document)


def _exactly(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:  # noqa: ANN401 - JSON
    """Every member is described, and every one described is there."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema and value is not None:
        (schema,) = (one for one in schema["anyOf"] if one != {"type": "null"})
        _exactly(value, schema, document)
    elif isinstance(value, dict) and "properties" in schema:
        assert set(value) == set(schema["properties"]) == set(schema["required"])
        for name, inner in value.items():
            _exactly(inner, schema["properties"][name], document)
    elif isinstance(value, list):
        for inner in value:
            _exactly(inner, schema["items"], document)


def test_a_preview_has_the_members_of_a_request_and_a_decision(users: Callers) -> None:
    foreseen = users.alice.post("/requests/preview", body()).json
    made = users.alice.post("/requests", body()).json
    assert set(foreseen) - {"decision"} == set(made)
