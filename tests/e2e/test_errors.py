"""Every failure in one shape; odd JSON is the caller's fault, never ours."""

import json

import httpx
import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.shop import Shop, fresh_phone
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

GOOD_PHONE = "77011234567"
JSON = {"Content-Type": "application/json"}


def _named(body: dict[str, list[dict[str, str]]]) -> list[str]:
    return [one["field"] for one in body["errors"]]


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (
            "/api/v1/invoices",
            {"amount": 0, "phone_number": "123", "description": 5, "external_order_id": "x" * 256, "is_sandbox": "no"},
            ["amount", "phone_number", "description", "external_order_id", "is_sandbox"],
        ),
        ("/api/v1/invoices", {}, ["amount", "phone_number"]),
        (
            "/api/v1/qr",
            {"amount": -1, "kind": "nfc", "comment": "x" * 501, "latitude": 91, "longitude": "east"},
            ["amount", "comment", "kind", "latitude", "longitude"],
        ),
        ("/api/v1/webhooks", {"url": 1, "events": "all"}, ["url", "events"]),
        ("/api/v1/invoices/status/check", {"ids": "all"}, ["ids"]),
        ("/api/v1/invoices/status/check", {"ids": ["x"] * 101}, ["ids"]),
    ],
)
async def test_every_wrong_field_is_named_at_once(
    shop: Shop, path: str, body: dict[str, object], fields: list[str]
) -> None:
    refused = assert_error(await shop.live.post(path, json=body), Code.INVALID_REQUEST)
    assert sorted(_named(refused)) == sorted(fields)
    assert all(one["code"] and one["message"] for one in refused["errors"])


async def test_a_wrong_word_is_answered_with_those_there_are(shop: Shop) -> None:
    body = {"amount": 100, "phone_number": fresh_phone(), "billing_period": "hourly", "payer": ["pays", "expires"]}
    refused = assert_error(await shop.test.post("/api/v1/subscriptions", json=body), Code.INVALID_REQUEST)
    assert {one["field"]: one["message"] for one in refused["errors"]} == {
        "billing_period": "Must be one of daily, weekly, biweekly, monthly, quarterly, yearly.",
        "payer.1": "Must be one of pays, ignores, declines.",
    }
    params = {"order": "up", "page_size": "many"}
    refused = assert_error(await shop.test.get("/api/v1/events", params=params), Code.INVALID_REQUEST)
    assert {one["field"]: one["message"] for one in refused["errors"]} == {
        "order": "Must be one of asc, desc.",
        "page_size": "Must be an integer, not a string.",
    }


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (
            "/api/v1/invoices",
            {
                "page": 10_000,
                "status": "payed",
                "search": "a\x00b",
                "external_order_id": "a\x00b",
                "date_to": "9999-12-31",
            },
        ),
        ("/api/v1/refunds", {"page": 10_000, "invoice_id": "a\x00b", "date_to": "9999-12-31"}),
        ("/api/v1/events", {"cursor": "x", "type": "invoice.payed", "object_id": "a\x00b", "date_to": "9999-12-31"}),
        (
            "/api/v1/audit-logs",
            {
                "page": 10_000,
                "object_id": "a\x00b",
                "object_type": "a\x00b",
                "action": "a\x00b",
                "date_to": "9999-12-31",
            },
        ),
    ],
)
async def test_every_wrong_filter_is_named_at_once(shop: Shop, path: str, params: dict[str, str | int]) -> None:
    refused = assert_error(await shop.live.get(path, params=params), Code.INVALID_REQUEST)
    assert _named(refused) == list(params)


@pytest.mark.parametrize(
    "amount",
    [*("0", "0.001", "0.009", "-1", "100000000", "99999999.991", "1e999", "1e-999", "1E400", "NaN", "Infinity"),
     *("-Infinity", '"100"', '"1e2"', "null", "true", "[]", "{}", "1.", ".5", "01", "0x10", "1_000", "９")],
)  # fmt: skip
async def test_an_amount_that_is_none_is_refused_to_the_letter(shop: Shop, amount: str) -> None:
    phone = fresh_phone()
    raw = f'{{"amount": {amount}, "phone_number": "{phone}"}}'.encode()
    assert_error(await shop.live.post("/api/v1/invoices", content=raw, headers=JSON), Code.INVALID_REQUEST)
    assert await shop.purchases(phone=phone) == []


@pytest.mark.parametrize(
    ("amount", "shown"),
    [("0.01", "0.01"), ("99999999.99", "99999999.99"), ("1e2", "100.00"), ("0.1", "0.10"), ("4.35", "4.35")],
)
async def test_an_amount_is_taken_exactly(shop: Shop, amount: str, shown: str) -> None:
    raw = f'{{"amount": {amount}, "phone_number": "{fresh_phone()}"}}'.encode()
    made = await shop.test.post("/api/v1/invoices", content=raw, headers=JSON)
    assert (made.status_code, made.json()["amount"]) == (201, shown)


@pytest.mark.parametrize(
    "phone",
    [
        "",
        "77011234567x",
        "+7 495 123 45 67",
        "770112345678",
        "7701123456",
        "+998901234567",
        "7" * 33,
        "７７０１１２３４５６７",
        "7\u0000701",
    ],
)
async def test_a_phone_that_cannot_get_a_bill_is_refused_and_not_repeated(shop: Shop, phone: str) -> None:
    answer = await shop.live.post("/api/v1/invoices", json={"amount": 5, "phone_number": phone})
    assert _named(assert_error(answer, Code.INVALID_REQUEST)) == ["phone_number"]
    assert not phone or phone not in answer.text


ODD_BODIES = {
    "nothing at all": b"{",
    "an array": b"[]",
    "a string": b'"amount"',
    "a number": b"5",
    "null": b"null",
    "two values": b"{}{}",
    "a trailing comma": b'{"amount":1,}',
    "single quotes": b"{'amount':1}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"amount":1}'.encode("utf-16"),
    "broken UTF-8": b'{"amount":1,"phone_number":"77011234567","description":"\xff\xfe"}',
    "a lone surrogate": b'{"amount":1,"phone_number":"77011234567","description":"\\ud800"}',
    "NUL": b'{"amount":1,"phone_number":"77011234567","description":"a\\u0000b"}',
    "a deep object": b'{"amount":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "a deep array": b'{"amount":1,"phone_number":"77011234567","x":' + b"[" * 20000 + b"]" * 20000 + b"}",
    "a huge number": b'{"amount":' + b"9" * 30000 + b',"phone_number":"77011234567"}',
    "a huge fraction": b'{"amount":0.' + b"0" * 30000 + b'1,"phone_number":"77011234567"}',
    "a long text": b'{"amount":1,"phone_number":"77011234567","description":"' + b"x" * 60000 + b'"}',
}


@pytest.mark.parametrize("name", ODD_BODIES)
@pytest.mark.parametrize("path", ["/api/v1/invoices", "/api/v1/qr", "/api/v1/webhooks"])
async def test_odd_json_is_the_callers_fault(shop: Shop, path: str, name: str) -> None:
    raw = ODD_BODIES[name].replace(b"description", b"comment") if path == "/api/v1/qr" else ODD_BODIES[name]
    assert_error(await shop.test.post(path, content=raw, headers=JSON), Code.INVALID_REQUEST)


async def test_unknown_and_doubled_fields_do_not_confuse(shop: Shop) -> None:
    raw = f'{{"amount": 1, "amount": 2, "phone_number": "{fresh_phone()}", "is_admin": true}}'.encode()
    made = await shop.test.post("/api/v1/invoices", content=raw, headers=JSON)
    assert (made.status_code, made.json()["amount"]) == (201, "2.00")


async def test_a_body_above_64_kib_is_too_large(shop: Shop) -> None:
    body = {"amount": 1, "phone_number": GOOD_PHONE, "description": "x" * 70_000}
    assert_error(await shop.test.post("/api/v1/invoices", json=body), Code.PAYLOAD_TOO_LARGE)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
async def test_a_body_that_is_not_json_is_refused(shop: Shop, content_type: str) -> None:
    raw = b"amount=1&phone_number=77011234567"
    answer = await shop.test.post("/api/v1/invoices", content=raw, headers={"Content-Type": content_type})
    assert answer.status_code in {400, 415}, answer.text
    assert_error(answer, Code(answer.json()["error"]))


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/", "/api", "/api/v1/invoices/inv_x/receipt", "/api/v1/%00", "/%ff"]
)
async def test_a_path_that_is_none_is_not_found(shop: Shop, path: str) -> None:
    assert_error(await shop.live.get(path), Code.NOT_FOUND)


@pytest.mark.parametrize("id_", ["inv_nothing", "x" * 1000, "%00", "..%2f..", "%D0%B9", "'; drop table invoices; --"])
async def test_an_id_that_is_none_is_not_found(shop: Shop, id_: str) -> None:
    assert_error(await shop.live.get(f"/api/v1/invoices/{id_}"), Code.NOT_FOUND)
    assert_error(await shop.live.post(f"/api/v1/invoices/{id_}/cancel"), Code.NOT_FOUND)
    simulated = await shop.live.post(f"/api/v1/sandbox/invoices/{id_}/simulate", json={"status": "paid"})
    assert_error(simulated, Code.NOT_FOUND)
    assert_error(await shop.live.post(f"/api/v1/webhooks/{id_}/test"), Code.NOT_FOUND)


async def test_another_method_is_answered_with_those_that_are(shop: Shop) -> None:
    answer = await shop.live.delete("/api/v1/invoices")
    assert_error(answer, Code.METHOD_NOT_ALLOWED)
    assert {"GET", "POST"} <= {one.strip() for one in answer.headers["allow"].split(",")}


async def test_a_callers_request_id_comes_back_when_it_is_sane(shop: Shop) -> None:
    sane = await shop.live.get("/api/v1/nothing", headers={"X-Request-Id": "order-1042.retry_2"})
    assert sane.headers["x-request-id"] == sane.json()["request_id"] == "order-1042.retry_2"
    for odd in ("short", "x" * 65, "with space", "<script>"):
        answer = await shop.live.get("/api/v1/me", headers={"X-Request-Id": odd})
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "path",
    ["/health/live", "/health/ready", "/api/docs", "/api/docs/openapi.json", "/assets/docs/swagger-ui.css", "/pay/x"],
)
async def test_what_needs_no_key_has_a_request_id_too(stack: Stack, path: str) -> None:
    async with httpx.AsyncClient(base_url=stack.system.api_url, trust_env=False) as nobody:
        answer = await nobody.get(path)
        assert answer.status_code == (404 if path == "/pay/x" else 200)
        assert answer.headers["x-request-id"]
        if path == "/api/docs":
            assert "http://" not in answer.text.replace(stack.system.api_url, "")
            assert "https://" not in answer.text


async def test_an_error_says_where_it_is_explained(shop: Shop) -> None:
    page, _, anchor = assert_error(await shop.live.get("/api/v1/nothing"), Code.NOT_FOUND)["doc"].partition("#")
    explained = await shop.live.get(page)
    assert explained.status_code == 200
    assert f'id="{anchor}"' in explained.text


async def test_descriptions_in_any_language_survive_the_whole_way(shop: Shop) -> None:
    text = 'Ақша "төлем" 💸 <b>&amp;</b> \\ \' \u202e'
    made = await shop.bill(description=text)
    assert (await shop.read(made["id"]))["description"] == text.strip()
    (purchase,) = await shop.purchases(phone=made["phone_number"])
    assert purchase["comment"].startswith("Ақша")
    assert json.loads(json.dumps(made))["description"] == text.strip()
