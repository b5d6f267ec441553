"""The ApiPay contract's description: true to its examples, and nothing of the published one is missing or changed."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml  # type: ignore[import-untyped]  # comes with schemathesis, its stubs do not

from dev.migrations import ROOT

PUBLISHED = Path("../shared/contracts/apipay-v1.openapi.yaml")
SHAPES = {
    "Organization": "OrganizationJson",
    "Invoice": "InvoiceJson",
    "Refund": "RefundJson",
    "PaginationMeta": "PaginationMeta",
    "Error": "ApiPayErrorJson",
    "CreateInvoiceRequest": "InvoiceRequest",
    "RecurringInvoice": "RecurringJson",
    "CreateRecurringInvoiceRequest": "RecurringRequest",
}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def ours() -> Json:
    read: Json = json.loads((ROOT / "docs" / "openapi" / "apipay.json").read_text())
    return read


@pytest.fixture(scope="module")
def published() -> Json:
    found = (ROOT / PUBLISHED).resolve()
    if not found.exists():
        pytest.skip(f"THE PUBLISHED CONTRACT WAS NOT COMPARED: no {PUBLISHED} beside the repository")
    read: Json = yaml.safe_load(found.read_text())
    return read


def resolved(document: Json, node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def shape(path: str) -> list[str]:
    return ["{}" if part.startswith("{") else part for part in path.split("/")]


def operations(document: Json, prefix: str = "") -> dict[tuple[str, str], Json]:
    return {
        (method, "/".join(shape(path.removeprefix(prefix)))): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def branches(document: Json, schema: Any) -> list[Json]:
    """What a field may be, through references, "one of" and lists of types; null aside."""
    schema = resolved(document, schema)
    inner = [one for key in ("oneOf", "anyOf", "allOf") for one in schema.get(key, [])]
    if inner:
        outer = {name: value for name, value in schema.items() if name not in {"oneOf", "anyOf", "allOf"}}
        return [outer | found for one in inner for found in branches(document, one)]
    kinds = schema.get("type", "string" if "enum" in schema else "object")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return [{**schema, "type": kind} for kind in kinds if kind != "null"]


def fits(mine: Json, theirs: Json, document: Json, their_document: Json, where: str, *, request: bool) -> None:
    """Nothing that they publish of a value is missing or changed here."""
    theirs = resolved(their_document, theirs)
    kinds = {one["type"] for one in branches(document, mine)}
    assert theirs["type"] in kinds, where
    if not request:
        assert kinds == {theirs["type"]}, where
    (one,) = [one for one in branches(document, mine) if one["type"] == theirs["type"]]
    if "enum" in theirs:
        assert sorted(one["enum"]) == sorted(theirs["enum"]), where
    for bound in ("minimum", "maximum", "maxLength"):
        if bound in theirs:
            assert one.get(bound) == theirs[bound], f"{where} {bound}"
    if theirs["type"] == "array":
        fits(one["items"], theirs["items"], document, their_document, f"{where}[]", request=request)
    for name, field in theirs.get("properties", {}).items():
        assert name in one["properties"], f"{where}.{name} is missing"
        fits(one["properties"][name], field, document, their_document, f"{where}.{name}", request=request)
    if request:
        assert set(one.get("required", [])) <= set(theirs.get("required", [])), where


def test_every_published_operation_is_there_and_no_other(ours: Json, published: Json) -> None:
    theirs = operations(published)
    mine = operations(ours, "/api")
    assert len(theirs) == 19
    assert set(mine) == set(theirs)
    for key, operation in theirs.items():
        assert mine[key]["operationId"] == operation["operationId"], key
        assert mine[key]["tags"] == operation["tags"], key


def test_every_published_answer_is_given_field_by_field(ours: Json, published: Json) -> None:
    compared = 0
    for key, operation in operations(published).items():
        given = operations(ours, "/api")[key]["responses"]
        for status, answer in operation["responses"].items():
            assert status in given, (key, status)
            for media, content in resolved(published, answer).get("content", {}).items():
                schema = given[status]["content"][media]["schema"]
                fits(schema, content["schema"], ours, published, f"{key} {status}", request=False)
                compared += 1
    assert compared == 32


def test_every_published_request_is_taken_field_by_field(ours: Json, published: Json) -> None:
    for key, operation in operations(published).items():
        if "requestBody" not in operation:
            continue
        body = operations(ours, "/api")[key]["requestBody"]
        wanted = operation["requestBody"]
        assert body.get("required", False) <= wanted.get("required", False), key
        schemas = [one["content"]["application/json"]["schema"] for one in (body, wanted)]
        fits(schemas[0], schemas[1], ours, published, f"{key} body", request=True)


def test_every_published_parameter_is_taken(ours: Json, published: Json) -> None:
    for key, operation in operations(published).items():
        given = operations(ours, "/api")[key].get("parameters", [])
        mine = {one["name"]: one for one in given}
        for one in operation.get("parameters", []):
            if one["in"] == "path":
                (found,) = [parameter for parameter in given if parameter["in"] == "path"]
            else:
                found = mine[one["name"]]
                assert found.get("required", False) is one.get("required", False), (key, one["name"])
                assert found["schema"].get("default") == one["schema"].get("default"), (key, one["name"])
            fits(found["schema"], one["schema"], ours, published, f"{key} {one['name']}", request=True)


def test_the_examples_fit_and_there_is_one_of_each_body(ours: Json) -> None:
    for key, operation in operations(ours).items():
        bodies = {"request": operation["requestBody"]} if "requestBody" in operation else {}
        bodies |= operation["responses"]
        assert {"200", "401", "429"} <= set(bodies), key
        for status, body in bodies.items():
            media = body["content"]["application/json"]
            assert media.get("examples"), f"{key} {status} has no example"
            validator = jsonschema_rs.validator_for({**media["schema"], "components": ours["components"]})
            for example in media["examples"].values():
                assert [f"{key} {status}: {error}" for error in validator.iter_errors(example["value"])] == []


def test_the_names_of_the_shapes_are_known(ours: Json, published: Json) -> None:
    """So that a renamed shape is not taken for a missing one above."""
    assert set(SHAPES) <= set(published["components"]["schemas"])
    assert set(SHAPES.values()) <= set(ours["components"]["schemas"])
