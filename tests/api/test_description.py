"""The OpenAPI description: complete, true to its own examples, and a superset of the published contract."""

import json
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from dev.migrations import ROOT

PUBLISHED = Path("../shared/contracts/arzan-openapi.json")
# Every published operation (a test compares). Written down here, so that each has a test of its own.
NAMED = {
    "/organizations/verify": ["post"],
    "/v1/me": ["get"],
    "/v1/invoices": ["get", "post"],
    "/v1/invoices/{id}": ["get"],
    "/v1/invoices/{id}/cancel": ["post"],
    "/v1/invoices/status/check": ["post"],
    "/v1/qr": ["post"],
    "/v1/sandbox/invoices/{id}/simulate": ["post"],
    "/v1/kaspi/session": ["get"],
    "/v1/webhooks": ["get", "post"],
    "/v1/webhooks/{id}/test": ["post"],
    "/v1/audit-logs": ["get"],
    "/v1/invoices/{id}/refund": ["post"],
    "/v1/refunds": ["get", "post"],
    "/v1/webhook-deliveries": ["get"],
    "/v1/webhook-deliveries/{id}/retry": ["post"],
    "/v1/jobs": ["get"],
    "/v1/catalog": ["get", "post"],
    "/v1/catalog/units": ["get"],
    "/v1/subscriptions": ["get", "post"],
}
OPERATIONS = [(path, method) for path, methods in NAMED.items() for method in methods]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def ours() -> Json:
    """The committed description."""
    read: Json = json.loads((ROOT / "docs" / "openapi" / "v1.json").read_text())
    return read


@pytest.fixture(scope="module")
def published() -> Json:
    """The contract whose integrations must work here unchanged."""
    found = (ROOT / PUBLISHED).resolve()
    if not found.exists():
        pytest.skip(f"THE PUBLISHED CONTRACT WAS NOT COMPARED: no {PUBLISHED} beside the repository")
    read: Json = json.loads(found.read_text())
    return read


def _resolved(document: Json, node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _operation(document: Json, path: str, method: str) -> Json:
    """By the path's shape: names of parameters in it may differ."""
    shape = [part.startswith("{") or part for part in path.split("/")]
    for known, item in document["paths"].items():
        if [part.startswith("{") or part for part in known.split("/")] == shape and method in item:
            found: Json = item[method]
            return found
    raise AssertionError(f"{method.upper()} {path} is missing")


def _properties(document: Json, schema: Any) -> Json:
    """The fields of an object schema, through references and "or null"."""
    schema = _resolved(document, schema)
    branches = [_resolved(document, branch) for branch in schema.get("oneOf", [])]
    schema = next((branch for branch in branches if "properties" in branch), schema)
    found: Json = schema.get("properties", {})
    return found


def _body(document: Json, operation: Json) -> tuple[Json, set[str]]:
    """The request's fields, and those it must have."""
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return {}, set()
    schema = _resolved(document, content["application/json"]["schema"])
    return _properties(document, schema), set(schema.get("required", []))


def _field(document: Json, schema: Any) -> Json:
    """A field's schema, through references; what is said of a reference stands around it."""
    found: Json = _resolved(document, schema)
    return _field(document, found["allOf"][0]) if "allOf" in found else found


def _types(schema: Json) -> set[str]:
    """The JSON types a field may have, null aside; an enumeration of words is a string."""
    branches = [*schema.get("oneOf", []), *schema.get("anyOf", []), schema]
    found = {
        kind
        for one in branches
        for kind in ([one["type"]] if isinstance(one.get("type"), str) else one.get("type", []))
    }
    return found - {"null"}


async def test_the_committed_file_is_what_the_code_makes() -> None:
    done = await create_subprocess_exec(
        sys.executable, "-m", "cli", "openapi", "check", cwd=ROOT, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await done.communicate()
    assert done.returncode == 0, said.decode()


def _described(document: Json) -> Iterator[tuple[str, Json]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_has_an_example_of_each_body_and_the_examples_fit(ours: Json) -> None:
    assert ours["openapi"].startswith("3.1")
    for name, operation in _described(ours):
        assert operation["summary"], name
        assert operation["operationId"], name
        bodies = {"request": operation["requestBody"]} if "requestBody" in operation else {}
        bodies |= {status: answer for status, answer in operation["responses"].items() if answer.get("content")}
        assert any(status.startswith("2") for status in bodies) or "204" in operation["responses"], name
        for status, body in bodies.items():
            # Everything is JSON but the event stream, which is text with JSON in it.
            streamed = operation["operationId"] == "streamEvents" and status == "200"
            media = body["content"]["text/event-stream" if streamed else "application/json"]
            assert media.get("examples"), f"{name} {status} has no example"
            validator = jsonschema_rs.validator_for({**media["schema"], "components": ours["components"]})
            for example in media["examples"].values():
                errors = [f"{name} {status}: {error}" for error in validator.iter_errors(example["value"])]
                assert errors == []


def test_what_needs_no_key_says_so_and_the_rest_needs_one(ours: Json) -> None:
    assert ours["security"] == [{"ApiKeyAuth": []}]
    scheme = ours["components"]["securitySchemes"]["ApiKeyAuth"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    for name, operation in _described(ours):
        if "/health/" in name:
            assert operation["security"] in ([], [{}]), name
        else:
            assert "security" not in operation, name
            assert "401" in operation["responses"], name


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_published_operation_is_there_with_its_statuses_and_parameters(
    ours: Json, published: Json, path: str, method: str
) -> None:
    wanted, given = _operation(published, path, method), _operation(ours, f"/api{path}", method)
    assert set(wanted["responses"]) <= set(given["responses"])
    parameters = {(one["in"], one["name"]): one for one in given.get("parameters", [])}
    for one in (_resolved(published, parameter) for parameter in wanted.get("parameters", [])):
        if one["in"] == "path":
            assert [place for place, _ in parameters].count("path") == path.count("{")
            continue
        found = parameters[one["in"], one["name"]]
        assert _types(one["schema"]) <= _types(found["schema"])
        assert found.get("required", False) is one.get("required", False)
        assert found["schema"].get("default") == one["schema"].get("default")


@pytest.mark.parametrize(("path", "method"), [one for one in OPERATIONS if one[1] == "post"])
def test_the_published_request_is_taken_field_by_field(ours: Json, published: Json, path: str, method: str) -> None:
    wanted_operation, operation = _operation(published, path, method), _operation(ours, f"/api{path}", method)
    wanted, must = _body(published, wanted_operation)
    given, required = _body(ours, operation)
    assert required <= must  # nothing more may be required of an old client
    assert must - required <= {"amount"}  # which a cart says too
    for field, schema in wanted.items():
        assert _types(schema) <= _types(_field(ours, given[field])), field
        assert set(schema.get("enum", [])) <= set(_resolved(ours, given[field]).get("enum", schema.get("enum", []))), (
            field
        )
    if wanted and not wanted_operation["requestBody"].get("required") and not must:
        assert operation["requestBody"]["required"] is False


def test_the_published_invoice_and_error_are_given_field_by_field(ours: Json, published: Json) -> None:
    for theirs, mine in (("Invoice", "InvoiceJson"), ("Error", "ErrorJson")):
        wanted = published["components"]["schemas"][theirs]["properties"]
        given = ours["components"]["schemas"][mine]
        assert set(wanted) <= set(given["required"]), theirs  # always there, null where it may be
        for field, schema in wanted.items():
            assert _types(_resolved(ours, given["properties"][field])) == _types(schema), field
    statuses = _resolved(ours, ours["components"]["schemas"]["InvoiceJson"]["properties"]["status"])["enum"]
    assert sorted(statuses) == sorted(published["components"]["schemas"]["Invoice"]["properties"]["status"]["enum"])


def test_every_published_operation_is_compared(published: Json) -> None:
    assert {path: sorted(item) for path, item in published["paths"].items()} == NAMED
