"""The audit log over HTTP: who did it, for whose eyes, and that the chain a merchant sees is whole."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from db.audit_reads import AuditChains
from db.registry import Registry
from domain.audit_chain import ChainCheck
from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.shop import Shop, close_shop, fresh_key, fresh_phone, open_shop
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

Json = dict[str, Any]


@pytest.fixture(scope="module")
async def shop(stack_of_run: Stack) -> AsyncIterator[Shop]:
    """A merchant whose log nobody else writes to."""
    await stack_of_run.heal()
    made = await open_shop(stack_of_run, "Audited shop")
    yield made
    await close_shop(made)


async def page(shop: Shop, *, key: str = "live", **params: str | int) -> Json:
    client = shop.live if key == "live" else shop.test
    answer = await client.get("/api/v1/audit-logs", params={"page_size": 100, **params})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def told(shop: Shop, object_id: str) -> list[tuple[str, str, str | None, str | None]]:
    """Who, what, before, after; oldest first."""
    items = (await page(shop, object_id=object_id))["items"]
    return [(one["actor"]["id"], one["action"], one["before"], one["after"]) for one in reversed(items)]


async def keys(shop: Shop) -> dict[str, str]:
    return {one.mode: one.id for one in await Registry(shop.pool).keys(shop.merchant_id)}


async def test_a_paid_bill_tells_who_made_it_and_what_became_of_it(stack: Stack, shop: Shop) -> None:
    phone = fresh_phone()
    body = {"amount": 1500, "phone_number": phone}
    headers = {"Idempotency-Key": fresh_key(), "X-Request-Id": "audit-request-1"}
    invoice = (await shop.live.post("/api/v1/invoices", json=body, headers=headers)).json()
    again = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    await shop.pay(invoice)
    await shop.until_state(invoice["id"], "paid")
    key, workflow = (await keys(shop))["live"], f"invoice-{invoice['id']}"
    assert await told(shop, invoice["id"]) == [
        (key, "invoice.created", None, "processing"),
        (workflow, "invoice.pending", "processing", "pending"),
        (workflow, "invoice.paid", "pending", "paid"),
    ]
    items = (await page(shop, object_id=invoice["id"], action="invoice.created"))["items"]
    assert [(one["request_id"], one["actor"]["type"], one["is_sandbox"]) for one in items] == [
        ("audit-request-1", "key", False)
    ]
    assert phone not in str(await page(shop))


async def test_a_canceled_bill_tells_whose_key_canceled_it(stack: Stack, shop: Shop) -> None:
    live, sandbox = await shop.bill(), await shop.sandbox_bill()
    for client, invoice in ((shop.live, live), (shop.test, sandbox)):
        answer = await client.post(f"/api/v1/invoices/{invoice['id']}/cancel")
        assert answer.json()["state"] == "canceled"
    made = await keys(shop)
    assert (await told(shop, live["id"]))[-2:] == [
        (made["live"], "invoice.cancel_asked", None, None),
        (made["live"], "invoice.canceled", "pending", "canceled"),
    ]
    assert (await told(shop, sandbox["id"]))[-1] == (made["test"], "invoice.canceled", "pending", "canceled")


async def test_the_simulated_payer_is_the_key(stack: Stack, shop: Shop) -> None:
    invoice = await shop.sandbox_bill()
    assert (await shop.simulate(invoice["id"], "paid")).status_code == 200
    assert (await told(shop, invoice["id"]))[-1] == ((await keys(shop))["test"], "invoice.paid", "pending", "paid")


async def test_a_webhook_tells_whose_key_registered_it(stack: Stack, shop: Shop) -> None:
    url = "https://example.kz/hooks/secret-path"
    made = (await shop.live.post("/api/v1/webhooks", json={"url": url, "events": ["*"]})).json()
    assert await told(shop, made["id"]) == [((await keys(shop))["live"], "webhook_endpoint.created", None, "enabled")]
    assert "secret-path" not in str(await page(shop))


async def test_a_test_key_sees_the_rows_of_sandbox_objects_only(stack: Stack, shop: Shop) -> None:
    live, sandbox = await shop.bill(), await shop.sandbox_bill()
    for asked in ({}, {"is_sandbox": "false"}):
        items = (await page(shop, key="test", **asked))["items"]
        assert sandbox["id"] in {one["object_id"] for one in items}
        assert all(one["is_sandbox"] for one in items)
    assert (await page(shop, key="test", object_id=live["id"]))["items"] == []
    seen = {one["object_id"] for one in (await page(shop))["items"]}
    assert {live["id"], sandbox["id"], shop.merchant_id, shop.connection_id} <= seen


async def test_another_merchants_rows_do_not_exist(stack: Stack, shop: Shop) -> None:
    invoice = await shop.bill()
    stranger = await open_shop(stack, "Stranger", scheme=None)
    try:
        for params in ({"object_id": invoice["id"]}, {"actor": (await keys(shop))["live"]}):
            empty = {"items": [], "page": 1, "page_size": 100, "total": 0, "has_more": False, "next_cursor": None}
            assert await page(stranger, **params) == empty
        assert {one["merchant_id"] for one in (await page(stranger))["items"]} == {stranger.merchant_id}
    finally:
        await close_shop(stranger)


async def test_a_merchant_can_check_the_chain_by_what_it_is_shown(stack: Stack, shop: Shop) -> None:
    await shop.sandbox_bill()
    rows, cursor = list[Json](), ""
    while True:
        found = await page(shop, page_size=3, **({"cursor": cursor} if cursor else {}))
        rows += found["items"]
        if not found["has_more"]:
            break
        cursor = found["next_cursor"]
    rows.reverse()
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    previous = "00" * 32
    for row in rows:
        assert row["previous_hash"] == previous
        previous = row["hash"]
        assert _documented_hash(row) == previous
    check = ChainCheck(shop.merchant_id)
    async for one in AuditChains(shop.pool).rows(shop.merchant_id):
        check.read(one)
    assert check.finish() is None


def _documented_hash(row: Json) -> str:
    """As docs/operations.md says it, with nothing of ours."""
    moment = datetime.fromisoformat(row["created_at"])
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    fields = [
        "tolem-audit-1", row["merchant_id"], str(row["position"]), row["id"], str(microseconds), row["actor"]["type"],
        row["actor"]["id"], row["action"], row["object_type"], row["object_id"], str(row["is_sandbox"]).lower(),
        row["before"], row["after"], row["request_id"], row["note"],
    ]  # fmt: skip
    text = "".join("~" if field is None else f"{len(field.encode())}:{field}" for field in fields)
    return hashlib.sha256(bytes.fromhex(row["previous_hash"]) + text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM"}, "cursor"),
        ({"page": "500000"}, "page"),
        ({"object_id": "a\x00b"}, "object_id"),
        ({"actor": "x" * 201}, "actor"),
        ({"date_from": "22.11.2026"}, "date_from"),
        ({"date_to": "9999-12-31"}, "date_to"),
    ],
)
async def test_a_wrong_parameter_is_named(stack: Stack, shop: Shop, params: dict[str, str], field: str) -> None:
    body = assert_error(await shop.live.get("/api/v1/audit-logs", params=params), Code.INVALID_REQUEST)
    assert [one["field"] for one in body["errors"]] == [field]
