"""ApiPay's contract at `/api`: the same bills, refunds and events as v1's, in its own words."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from db.registry import Registry
from domain.errors import Code
from domain.rate_limit import RateLimit
from tests.support.api_errors import assert_error
from tests.support.receiver import WebhookReceiver
from tests.support.refunds import given_back
from tests.support.shop import Shop, close_shop, fresh_key, fresh_phone, open_shop
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.stack


def eight() -> str:
    return f"8{fresh_phone()[1:]}"


def refused(answer: httpx.Response, status: int, code: Code) -> dict[str, Any]:
    """The body of an error in their shape."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) <= {"message", "errors", "retry_after", "code", "request_id"}
    assert body["message"]
    assert body["code"] == code
    assert all(isinstance(text, str) for texts in body.get("errors", {}).values() for text in texts)
    return body


async def bill(api: httpx.AsyncClient, **fields: object) -> dict[str, Any]:
    answer = await api.post("/api/invoices", json={"amount": 1500, "phone_number": eight(), **fields})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def paid(shop: Shop, **fields: object) -> dict[str, Any]:
    """A live bill of theirs that is paid at the bank."""
    made = await bill(shop.live, **fields)
    await shop.pay(made)
    await shop.until_state(made["tolem_id"], "paid")
    return made


@pytest.fixture(scope="session")
async def newcomer(stack_of_run: Stack) -> AsyncIterator[Shop]:
    """A merchant without a link to the bank."""
    shop = await open_shop(stack_of_run, "ApiPay newcomer", scheme=None)
    yield shop
    await close_shop(shop)


async def test_a_bill_is_the_same_bill_in_both_contracts(shop: Shop) -> None:
    phone = eight()
    made = await bill(shop.live, phone_number=phone, description="Заказ", external_order_id="o-1")
    assert (made["status"], made["amount"], made["client_phone"]) == ("pending", "1500.00", phone)
    ours = await shop.read(made["tolem_id"])
    assert (ours["number"], ours["phone_number"], ours["state"]) == (made["id"], f"7{phone[1:]}", "pending")
    assert (ours["payment_url"], ours["kaspi_invoice_id"]) == (made["payment_url"], made["kaspi_invoice_id"])
    await shop.pay(made)
    await shop.until_state(made["tolem_id"], "paid")
    theirs = (await shop.live.get(f"/api/invoices/{made['id']}")).json()
    assert theirs["status"] == "paid"
    assert theirs["paid_at"][:19] == (await shop.read(made["tolem_id"]))["paid_at"][:19]
    # And one of v1's is there by its number.
    other = await shop.bill()
    assert (await shop.live.get(f"/api/invoices/{other['number']}")).json()["tolem_id"] == other["id"]


async def test_a_refund_waits_for_the_bank_and_stands_in_both_contracts(shop: Shop) -> None:
    made = await paid(shop)
    answer = await shop.live.post(f"/api/invoices/{made['id']}/refund", json={"amount": 500, "reason": "Брак"})
    assert answer.status_code == 200, answer.text
    refund = answer.json()
    assert (refund["status"], refund["amount"], refund["invoice_id"]) == ("completed", "500.00", made["id"])
    assert (await shop.live.get(f"/api/v1/refunds/{refund['tolem_id']}")).json()["number"] == refund["id"]
    assert await given_back(shop, made) == [50_000]
    # All that is left, without a body.
    whole = (await shop.live.post(f"/api/invoices/{made['id']}/refund")).json()
    assert (whole["amount"], whole["status"]) == ("1000.00", "completed")
    standing = (await shop.live.get(f"/api/invoices/{made['id']}")).json()
    assert (standing["status"], standing["total_refunded"]) == ("paid", "1500.00")
    body = refused(await shop.live.post(f"/api/invoices/{made['id']}/refund"), 400, Code.REFUND_EXCEEDS_AVAILABLE)
    assert set(body["errors"]) == {"amount"}


async def test_with_a_key_a_repeated_request_makes_no_second_object_in_either_contract(shop: Shop) -> None:
    headers, body = {"Idempotency-Key": fresh_key()}, {"amount": 900, "phone_number": eight()}
    answers = await asyncio.gather(*(shop.live.post("/api/invoices", json=body, headers=headers) for _ in range(4)))
    assert {one.status_code for one in answers} == {200}
    assert len({one.json()["id"] for one in answers}) == 1
    made = answers[0].json()
    again = await shop.live.post("/api/invoices", json=body, headers=headers)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (made["id"], "true")
    ours = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    assert (ours.status_code, ours.json()["id"]) == (201, made["tolem_id"])
    other = await shop.live.post("/api/invoices", json=body | {"amount": 901}, headers=headers)
    refused(other, 422, Code.IDEMPOTENCY_KEY_REUSED)
    await shop.pay(made)
    await shop.until_state(made["tolem_id"], "paid")
    headers = {"Idempotency-Key": fresh_key()}
    refunds = [
        await shop.live.post(f"/api/invoices/{made['id']}/refund", json={"amount": 1}, headers=headers)
        for _ in range(2)
    ]
    assert refunds[0].json() == refunds[1].json()
    assert await given_back(shop, made) == [100]


async def test_only_a_pending_bill_can_be_cancelled(shop: Shop) -> None:
    made = await bill(shop.live)
    cancelled = (await shop.live.post(f"/api/invoices/{made['id']}/cancel")).json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["cancelled_at"] >= made["created_at"]
    refused(await shop.live.post(f"/api/invoices/{made['id']}/cancel"), 400, Code.INVOICE_NOT_CANCELABLE)
    done = await paid(shop)
    refused(await shop.live.post(f"/api/invoices/{done['id']}/cancel"), 400, Code.INVOICE_NOT_CANCELABLE)
    unpaid = await bill(shop.live)
    refused(await shop.live.post(f"/api/invoices/{unpaid['id']}/refund"), 400, Code.INVOICE_NOT_PAID)


async def test_lists_are_filtered_and_paged_in_their_way(newcomer: Shop) -> None:
    numbers = [(await bill(newcomer.test, external_order_id=f"list-{n}"))["id"] for n in range(3)]
    await newcomer.test.post(f"/api/invoices/{numbers[0]}/cancel")

    async def listed(query: str) -> dict[str, Any]:
        answer = await newcomer.test.get(f"/api/invoices?{query}")
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    first = await listed("page=1&per_page=2&search=list-")
    assert [one["id"] for one in first["data"]] == numbers[:0:-1]
    assert first["meta"] == {"current_page": 1, "per_page": 2, "total": 3, "has_more": True}
    assert [one["id"] for one in (await listed("page=2&per_page=2&search=list-"))["data"]] == numbers[:1]
    assert (await listed("search=list-"))["meta"]["per_page"] == 10
    # The number of a bill is not the number of an order.
    assert [one["id"] for one in (await listed(f"search={numbers[0]}"))["data"]].count(numbers[0]) == 0
    assert [one["id"] for one in (await listed("status[]=cancelled&search=list-"))["data"]] == numbers[:1]
    both = await listed("status[0]=cancelled&status[1]=pending&search=list-")
    assert both["meta"]["total"] == 3
    assert (await listed("date_to=2020-01-01"))["data"] == []
    # A form in which nothing was chosen.
    nothing = "search=&status[]=&status[0]=&status%5B%5D="
    assert (await listed(nothing))["meta"]["current_page"] == 1
    for query, field in (
        ("per_page=101", "per_page"),
        ("page=0", "page"),
        ("status[]=canceled", "status"),
        ("date_from=2026-02-02&date_to=2026-02-01", "date_to"),
        ("date_from=yesterday", "date_from"),
        ("search=" + "x" * 101, "search"),
        ("page=1000&per_page=100", "page"),
        ("date_from=", "date_from"),
    ):
        body = refused(await newcomer.test.get(f"/api/invoices?{query}"), 422, Code.INVALID_REQUEST)
        assert any(name.startswith(field) for name in body["errors"]), (query, body)


async def test_another_merchant_s_and_impossible_numbers_are_404_in_their_words(shop: Shop, newcomer: Shop) -> None:
    made = await bill(shop.live)
    ghost = made["id"] + 10_000_000
    for api, number in ((newcomer.live, ghost), (shop.test, made["id"]), (shop.live, 0), (shop.live, 2**70)):
        for method, path in (
            ("GET", f"/api/invoices/{number}"),
            ("POST", f"/api/invoices/{number}/cancel"),
            ("POST", f"/api/invoices/{number}/refund"),
            ("GET", f"/api/invoices/{number}/refunds"),
        ):
            refused(await api.request(method, path), 404, Code.NOT_FOUND)
    for path in ("/api/invoices/abc", "/api/invoices/1%00", "/api/refunds/0", f"/api/organizations/{2**70}/status"):
        refused(await shop.live.get(path), 404, Code.NOT_FOUND)
    refused(await shop.live.delete(f"/api/invoices/{made['id']}"), 405, Code.METHOD_NOT_ALLOWED)


async def test_errors_are_in_the_words_of_the_contract_that_was_spoken_to(shop: Shop, newcomer: Shop) -> None:
    body = refused(
        await shop.live.post("/api/invoices", json={"amount": -1, "phone_number": "1"}), 422, Code.INVALID_REQUEST
    )
    assert set(body["errors"]) == {"amount", "phone_number"}
    assert_error(await shop.live.post("/api/v1/invoices", json={"amount": -1}), Code.INVALID_REQUEST)
    broken = await shop.live.post("/api/invoices", content=b"{", headers={"Content-Type": "application/json"})
    refused(broken, 400, Code.INVALID_REQUEST)
    unlinked = await newcomer.live.post("/api/invoices", json={"amount": 5, "phone_number": eight()})
    assert set(refused(unlinked, 422, Code.KASPI_NOT_CONNECTED)["errors"]) == {"organization"}
    async with httpx.AsyncClient(base_url=shop.stack.system.api_url, trust_env=False) as nobody:
        for path in ("/api/invoices", "/api/refunds", "/api/organizations/1/status"):
            assert refused(await nobody.get(path), 401, Code.UNAUTHORIZED)["message"] == "Invalid API key"
        asked = await nobody.post("/api/organizations/verify", json={"idn": "210140000016"})
        refused(asked, 401, Code.UNAUTHORIZED)
        assert_error(await nobody.post("/api/organizations/verify"), Code.UNAUTHORIZED)


async def test_a_bill_with_a_webhook_of_its_own_is_told_to_that_one_only(shop: Shop) -> None:
    async with WebhookReceiver() as chosen, WebhookReceiver() as others:
        hooks = [
            (
                await shop.test.post(
                    "/api/v1/webhooks", json={"url": receiver.url, "events": ["*"], "dialect": "apipay"}
                )
            ).json()
            for receiver in (chosen, others)
        ]
        assert hooks[0]["number"] + 1 == hooks[1]["number"]
        routed = await bill(shop.test, webhook_id=hooks[0]["number"])
        shared = await bill(shop.test)
        for one in (routed, shared):
            answer = await shop.simulate(one["tolem_id"], "paid")
            assert answer.status_code == 200, answer.text

        def about(number: int) -> Any:
            return lambda one: json.loads(one.body).get("invoice", {}).get("id") == number

        (told,) = await chosen.wait_for(about(routed["id"]))
        await chosen.wait_for(about(shared["id"]))
        await others.wait_for(about(shared["id"]))
        assert not [one for one in others.requests if about(routed["id"])(one)]
        expected = hmac.new(hooks[0]["secret"].encode(), told.body, hashlib.sha256).hexdigest()
        assert told.headers["x-webhook-signature"] == f"sha256={expected}"
        body = json.loads(told.body)
        assert (body["event"], body["invoice"]["status"]) == ("invoice.status_changed", "paid")
        # Its refund too.
        await shop.test.post(f"/api/invoices/{routed['id']}/refund")
        refunds = await chosen.wait_for(lambda one: json.loads(one.body)["event"] == "invoice.refunded")
        assert json.loads(refunds[0].body)["invoice"]["total_refunded"] == "1500.00"
        assert not [one for one in others.requests if b"refund" in one.body]
        for hook in hooks:
            await shop.test.delete(f"/api/v1/webhooks/{hook['id']}")
    for number in (hooks[0]["number"], 10_000_000, 0, 2**70):
        answer = await shop.test.post(
            "/api/invoices", json={"amount": 1, "phone_number": eight(), "webhook_id": number}
        )
        assert set(refused(answer, 422, Code.INVALID_REQUEST)["errors"]) == {"webhook_id"}


async def test_an_organisation_is_verified_by_its_number_and_its_link(shop: Shop, newcomer: Shop) -> None:
    started = (await shop.live.post("/api/organizations/verify", json={"idn": shop.bin})).json()
    organization = started["organization"]
    assert (organization["status"], organization["time_remaining"]) == ("verified", 120)
    polled = (await shop.live.get(f"/api/organizations/{organization['id']}/status")).json()["organization"]
    assert (polled["idn"], polled["status"]) == (shop.bin, "verified")
    refused(await shop.test.get(f"/api/organizations/{organization['id']}/status"), 404, Code.NOT_FOUND)
    wrong = await shop.live.post("/api/organizations/verify", json={"idn": "123456789012"})
    assert set(refused(wrong, 422, Code.INVALID_REQUEST)["errors"]) == {"idn"}
    empty = await shop.live.post("/api/organizations/verify", json={})
    assert set(refused(empty, 422, Code.INVALID_REQUEST)["errors"]) == {"idn"}

    # Without a link it waits, and 120 seconds later it is gone.
    waiting = (await newcomer.live.post("/api/organizations/verify", json={"idn": newcomer.bin})).json()["organization"]
    assert waiting["status"] == "pending"
    path = f"/api/organizations/{waiting['id']}/status"
    assert (await newcomer.live.get(path)).json()["organization"]["status"] == "pending"
    await _age(newcomer, waiting["id"])
    assert refused(await newcomer.live.get(path), 410, Code.VERIFICATION_EXPIRED)["message"].startswith("Verification")
    again = (await newcomer.live.post("/api/organizations/verify", json={"idn": newcomer.bin})).json()["organization"]
    assert again["id"] == waiting["id"]
    assert (await newcomer.live.get(path)).status_code == 200
    other = (await newcomer.live.post("/api/organizations/verify", json={"idn": shop.bin})).json()["organization"]
    assert (other["status"], other["id"]) == ("failed", waiting["id"] + 1)


async def _age(shop: Shop, number: int) -> None:
    """As if 120 seconds had passed; operators may not write that."""
    judge = await asyncpg.connect(shop.stack.system.database.dsn("postgres"))
    try:
        done = await judge.execute(
            "update organizations set started_at = started_at - interval '120 seconds'"
            " where merchant_id = $1 and number = $2",
            shop.merchant_id,
            number,
        )
        assert done == "UPDATE 1"
    finally:
        await judge.close()


async def test_both_contracts_have_a_page_and_a_description_of_their_own(shop: Shop) -> None:
    page = await shop.live.get("/api/docs/apipay")
    assert (page.status_code, "/api/docs/apipay/openapi.json" in page.text) == (200, True)
    theirs = (await shop.live.get("/api/docs/apipay/openapi.json")).json()
    ours = (await shop.live.get("/api/docs/openapi.json")).json()
    shared = set(theirs["paths"]) & set(ours["paths"])
    assert shared == {"/api/organizations/verify"}


async def test_a_limited_key_is_told_so_in_their_words(shop: Shop) -> None:
    registry = Registry(shop.pool)
    key = shop.test.headers["x-api-key"]
    (row,) = [one for one in await registry.keys(shop.merchant_id) if one.hint == key[-4:]]
    try:
        assert await registry.limit_key(row.id, RateLimit(1, 1))
        first = await shop.test.get("/api/invoices")
        assert (first.status_code, first.headers["x-ratelimit-remaining"]) == (200, "0")
        second = await shop.test.get("/api/invoices")
        body = refused(second, 429, Code.RATE_LIMITED)
        assert body["retry_after"] == int(second.headers["retry-after"]) > 0
    finally:
        assert await registry.limit_key(row.id, None)

    async def free() -> bool:
        return (await shop.test.get("/api/invoices")).status_code == 200

    assert await until(free, "the key to be free again")


async def test_a_repeat_is_answered_though_its_webhook_is_deleted_and_new_bills_may_not_name_it(shop: Shop) -> None:
    """Who is refused now would make the bill anew, under another key."""
    async with WebhookReceiver() as receiver:
        hook = (await shop.test.post("/api/v1/webhooks", json={"url": receiver.url, "events": ["*"]})).json()
        body = {"amount": 700, "phone_number": eight(), "webhook_id": hook["number"]}
        plan = body | {"interval": "yearly", "start_date": "2030-01-01"}
        headers = {"Idempotency-Key": fresh_key()}
        asked = (("/api/invoices", body), ("/api/recurring-invoices", plan))
        made = [await shop.test.post(path, json=one, headers=headers) for path, one in asked]
        assert [one.status_code for one in made] == [200, 200]
        assert (await shop.test.delete(f"/api/v1/webhooks/{hook['id']}")).status_code in {200, 204}
    for (path, one), first in zip(asked, made, strict=True):
        again = await shop.test.post(path, json=one, headers=headers)
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        new = await shop.test.post(path, json=one)
        assert set(refused(new, 422, Code.INVALID_REQUEST)["errors"]) == {"webhook_id"}
