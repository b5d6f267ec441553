"""Subscriptions through the public door: a year on a test clock, every action, and a bill at the bank."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.inbox import Inbox, Told
from tests.support.shop import Shop, fresh_key, fresh_phone
from tests.support.waiting import until

pytestmark = pytest.mark.stack

PATH = "/api/v1/subscriptions"
CLOCKS = "/api/v1/sandbox/test-clocks"
BEGIN = "2026-01-31T10:00:00+05:00"
FAR = "2027-06-01T10:00:00+05:00"


async def begun(client: httpx.AsyncClient, *, key: str | None = None, **fields: object) -> dict[str, Any]:
    body = {"phone_number": fresh_phone(), "amount": 5000, "description": "Абонплата", **fields}
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await client.post(PATH, json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{PATH}/{made['id']}"
    return made


async def done(client: httpx.AsyncClient, one: dict[str, Any], action: str, **body: object) -> dict[str, Any]:
    answer = await client.post(f"{PATH}/{one['id']}/{action}", json=body or None)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def read(client: httpx.AsyncClient, one: dict[str, Any], path: str = "") -> dict[str, Any]:
    answer = await client.get(f"{PATH}/{one['id']}{path}", params={"page_size": 100} if path else None)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def clock_at(client: httpx.AsyncClient, now: str) -> str:
    answer = await client.post(CLOCKS, json={"name": "e2e", "now": now})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def advanced(client: httpx.AsyncClient, clock: str, **where: object) -> dict[str, Any]:
    """The clock once everything on it has come there."""
    answer = await client.post(f"{CLOCKS}/{clock}/advance", json=where)
    assert (answer.status_code, answer.json()["state"]) == (202, "advancing"), answer.text

    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get(f"{CLOCKS}/{clock}")).json()
        return found if found["state"] == "ready" else None

    ready = await until(look, "the clock to arrive")
    assert ready is not None
    return ready


async def told_of(inbox: Inbox, one: dict[str, Any], count: int) -> list[Told]:
    """So many events, in the order of its life: a webhook may overtake another."""
    return sorted(await inbox.wait(one["id"], count=count), key=lambda told: int(told.body["sequence"]))


def words(told: list[Told]) -> list[tuple[str, int | None]]:
    return [(one.body["type"].removeprefix("subscription."), one.body["data"]["period"]["number"]) for one in told]


async def bill_of(client: httpx.AsyncClient, one: dict[str, Any], state: str = "pending") -> dict[str, Any]:
    """The newest bill, once it is in this state."""

    async def look() -> dict[str, Any] | None:
        items = (await read(client, one, "/invoices"))["items"]
        return items[0] if items and items[0]["state"] == state else None

    found = await until(look, f"a bill that is {state}")
    assert found is not None
    return found


async def until_status(client: httpx.AsyncClient, one: dict[str, Any], status: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await read(client, one)
        return found if found["status"] == status else None

    found = await until(look, f"{one['id']} to be {status}")
    assert found is not None
    return found


async def until_period(client: httpx.AsyncClient, one: dict[str, Any], status: str) -> dict[str, Any]:
    """The newest period, once it is in this state."""

    async def look() -> dict[str, Any] | None:
        items = (await read(client, one, "/periods"))["items"]
        return items[0] if items and items[0]["status"] == status else None

    found = await until(look, f"the newest period to be {status}")
    assert found is not None
    return found


async def test_a_year_with_two_failed_bills_and_a_skip_passes_on_a_test_clock(shop: Shop, sandbox_inbox: Inbox) -> None:
    clock = await clock_at(shop.test, BEGIN)
    payer = ["pays", "pays", "ignores", "pays", "pays", "pays", "declines", "pays"]
    one = await begun(shop.test, test_clock=clock, payer=payer, total_cycles=12)
    assert (one["test_clock"], one["is_sandbox"], one["billing_day"]) == (clock, True, 31)

    assert (await advanced(shop.test, clock, to="2026-08-15T10:00:00+05:00"))["now"] == "2026-08-15T05:00:00.000Z"
    preview = await done(shop.test, one, "skip-period", preview=True)
    assert [item["due_at"][:10] for item in preview["upcoming"]] == ["2026-09-30", "2026-10-31", "2026-11-30"]
    assert (await read(shop.test, one))["next_billing_at"] == "2026-08-31T05:00:00.000Z"
    skipped = await done(shop.test, one, "skip-period")
    assert skipped["upcoming"] == preview["upcoming"]
    assert (await advanced(shop.test, clock, by="P1Y"))["now"] == "2027-08-15T05:00:00.000Z"

    told = await told_of(sandbox_inbox, one, 15)
    assert words(told) == [
        ("payment_succeeded", 1),
        ("payment_succeeded", 2),
        ("payment_failed", 3),
        ("payment_succeeded", 3),
        ("payment_succeeded", 4),
        ("payment_succeeded", 5),
        ("payment_failed", 6),
        ("payment_succeeded", 6),
        ("payment_succeeded", 7),
        ("period_skipped", 8),
        ("payment_succeeded", 9),
        ("payment_succeeded", 10),
        ("payment_succeeded", 11),
        ("payment_succeeded", 12),
        ("completed", None),
    ]
    assert [item.body["sequence"] for item in told] == list(range(1, 16))
    failed = [item.body["data"]["period"] for item in told if item.body["type"] == "subscription.payment_failed"]
    assert [item["declined"] for item in failed] == [False, True]

    stands = await read(shop.test, one)
    assert (stands["status"], stands["next_billing_at"], stands["upcoming"]) == ("completed", None, [])
    assert stands["statistics"] == {
        "periods_billed": 11,
        "periods_paid": 11,
        "periods_failed": 0,
        "periods_skipped": 1,
        "bills": 13,
        "paid_amount": "55000.00",
        "refunded_amount": "0.00",
        "net_amount": "55000.00",
    }
    assert stands["last_payment"]["period"] == 12
    periods = (await read(shop.test, one, "/periods"))["items"]
    assert [item["due_at"][:10] for item in reversed(periods)] == [
        "2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30",
        "2026-07-31", "2026-08-31", "2026-09-30", "2026-10-31", "2026-11-30", "2026-12-31",
    ]  # fmt: skip
    bills = (await read(shop.test, one, "/invoices"))["items"]
    unpaid = [item["state"] for item in bills if item["state"] != "paid"]
    assert len(unpaid) == 2
    assert set(unpaid) <= {"canceled", "expired", "failed"}
    assert [item["subscription_period"] for item in reversed(bills)] == [1, 2, 3, 3, 4, 5, 6, 6, 7, 9, 10, 11, 12]
    assert (await shop.test.delete(f"{CLOCKS}/{clock}")).status_code == 204


async def test_who_never_pays_is_reminded_given_grace_and_given_up(shop: Shop, sandbox_inbox: Inbox) -> None:
    clock = await clock_at(shop.test, BEGIN)
    one = await begun(shop.test, test_clock=clock, payer=["ignores"], max_retry_attempts=1, grace_period_days=2)
    await advanced(shop.test, clock, by="P14D")
    told = await told_of(sandbox_inbox, one, 4)
    assert words(told) == [
        ("payment_failed", 1), ("payment_failed", 1), ("grace_period_started", 1), ("expired", 1),
    ]  # fmt: skip
    assert [item.body["data"]["period"]["failed_attempts"] for item in told] == [1, 2, None, None]
    assert (await read(shop.test, one))["status"] == "expired"
    assert_error(await shop.test.post(f"{PATH}/{one['id']}/pause"), Code.SUBSCRIPTION_CLOSED)


async def test_a_clock_that_is_deleted_cancels_what_stands_on_it(shop: Shop) -> None:
    clock = await clock_at(shop.test, BEGIN)
    one = await begun(shop.test, test_clock=clock, payer=["ignores"])
    assert_error(await shop.live.get(f"{CLOCKS}/{clock}"), Code.TEST_KEY_REQUIRED)
    assert (await shop.test.delete(f"{CLOCKS}/{clock}")).status_code == 204
    assert (await read(shop.test, one))["status"] == "canceled"
    assert_error(await shop.test.get(f"{CLOCKS}/{clock}"), Code.NOT_FOUND)


async def test_a_live_bill_goes_to_the_bank_and_its_payment_is_told(shop: Shop, inbox: Inbox) -> None:
    one = await begun(shop.live, amount=1234.5)
    bill = await bill_of(shop.live, one)
    assert (bill["amount"], bill["subscription_id"], bill["subscription_period"]) == ("1234.50", one["id"], 1)
    (purchase,) = await shop.purchases(phone=one["phone_number"])
    assert purchase["amount_tiyn"] == 123_450
    await shop.pay(bill)
    await shop.until_state(bill["id"], "paid")
    (told,) = await inbox.wait(one["id"])
    assert (told.body["type"], told.body["data"]["period"]["invoice_id"]) == (
        "subscription.payment_succeeded",
        bill["id"],
    )
    assert told.object["next_billing_at"] is not None
    stands = await read(shop.live, one)
    assert (stands["statistics"]["paid_amount"], stands["open_period"]) == ("1234.50", None)
    await done(shop.live, one, "cancel")


async def test_a_repeated_creation_begins_one(shop: Shop) -> None:
    body: dict[str, Any] = {"phone_number": fresh_phone(), "amount": 100, "started_at": FAR}
    headers = {"Idempotency-Key": fresh_key()}
    answers = await asyncio.gather(*(shop.test.post(PATH, json=body, headers=headers) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5, [answer.text for answer in answers]
    assert len({answer.content for answer in answers}) == 1
    listed = await shop.test.get(PATH, params={"phone_number": body["phone_number"]})
    assert [one["id"] for one in listed.json()["items"]] == [answers[0].json()["id"]]
    other = await shop.test.post(PATH, json=body | {"amount": 101}, headers=headers)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)


async def test_an_action_without_a_key_is_booked_under_one_of_its_own(shop: Shop) -> None:
    one = await begun(shop.test, started_at=FAR, billing_day=31)
    for _ in range(2):
        await done(shop.test, one, "skip-period")
    assert [period["number"] for period in (await read(shop.test, one, "/periods"))["items"]] == [2, 1]
    keys = text("select count(*) from idempotency_keys where resource_id = :id and operation like '%skip%'")
    async with shop.pool.connect() as connection:
        assert (await connection.execute(keys, {"id": one["id"]})).scalar_one() == 2


async def test_every_action_is_done_once_under_a_key_and_refused_where_it_cannot_be(shop: Shop) -> None:
    one = await begun(shop.test, started_at=FAR, billing_day=31)
    path = f"{PATH}/{one['id']}"

    async def twice(action: str, **body: object) -> dict[str, Any]:
        headers = {"Idempotency-Key": fresh_key()}
        answers = [await shop.test.post(f"{path}/{action}", json=body or None, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
        assert answers[0].content == answers[1].content
        found: dict[str, Any] = answers[0].json()
        return found

    assert_error(await shop.test.post(f"{path}/resume"), Code.SUBSCRIPTION_NOT_PAUSED)
    assert (await twice("skip-period"))["upcoming"][0] == {"number": 2, "due_at": "2027-07-31T05:00:00.000Z"}
    assert (await twice("pause"))["status"] == "paused"
    for action in ("pause", "bill-now", "skip-period"):
        assert_error(await shop.test.post(f"{path}/{action}"), Code.SUBSCRIPTION_PAUSED)
    resumed = await twice("resume")
    assert (resumed["status"], resumed["next_billing_at"]) == ("active", "2027-07-31T05:00:00.000Z")
    assert (await twice("cancel", at_period_end=True))["cancel_at_period_end"] is True
    assert_error(await shop.test.post(f"{path}/bill-now"), Code.NO_PERIOD_LEFT)
    assert (await twice("resume"))["cancel_at_period_end"] is False
    canceled = await twice("cancel")
    assert (canceled["status"], canceled["ended_at"] is not None) == ("canceled", True)
    assert_error(await shop.test.post(f"{path}/cancel"), Code.SUBSCRIPTION_CLOSED)
    assert_error(await shop.test.patch(path, json={"amount": 1}), Code.SUBSCRIPTION_CLOSED)


async def test_bill_now_bills_the_next_period_ahead_and_no_second_one(shop: Shop, sandbox_inbox: Inbox) -> None:
    one = await begun(shop.test, started_at=FAR)
    billed = await done(shop.test, one, "bill-now")
    assert (billed["open_period"]["number"], billed["open_period"]["bills"]) == (1, 1)
    bill = await bill_of(shop.test, one)
    assert bill["id"] == billed["open_period"]["invoice_id"]
    assert_error(await shop.test.post(f"{PATH}/{one['id']}/bill-now"), Code.CHARGE_IN_FLIGHT)
    assert (await shop.simulate(bill["id"], "paid")).status_code == 200
    await sandbox_inbox.wait(one["id"])
    assert_error(await shop.test.post(f"{PATH}/{one['id']}/bill-now"), Code.BILLED_AHEAD)
    await done(shop.test, one, "cancel")


async def test_a_canceled_subscription_withdraws_its_bill(shop: Shop) -> None:
    one = await begun(shop.test)
    bill = await bill_of(shop.test, one)
    await done(shop.test, one, "cancel")
    canceled = await bill_of(shop.test, one, "canceled")
    assert (canceled["id"], canceled["status_reason"]) == (bill["id"], "canceled_by_merchant")


async def test_changes_hold_from_the_next_period_or_now(shop: Shop) -> None:
    tea = (await shop.test.post("/api/v1/catalog", json={"name": "Чай", "price": 100})).json()["items"][0]["id"]
    one = await begun(shop.test, ends_at="2030-01-01T00:00:00Z", metadata={"plan": "gold"})
    path = f"{PATH}/{one['id']}"
    await bill_of(shop.test, one)

    async def changed(**body: object) -> dict[str, Any]:
        answer = await shop.test.patch(path, json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    dearer = await changed(amount=6000)
    assert (dearer["amount"], dearer["open_period"]["amount"], dearer["description"]) == (
        "6000.00", "5000.00", "Абонплата",
    )  # fmt: skip
    cart = await changed(cart_items=[{"catalog_item_id": tea, "count": 3}], discount_percentage=10, apply="now")
    assert (cart["amount"], cart["discount_percentage"], cart["items"][0]["count"]) == ("270.00", "10.00", "3")
    assert cart["open_period"]["amount"] == "270.00"  # of its next bill: the one that is out stays as it is
    assert (await bill_of(shop.test, one))["amount"] == "5000.00"
    worded = await changed(description="Чай", metadata={"plan": "silver"}, external_order_id="tea_1")
    assert (worded["description"], worded["amount"], len(worded["items"])) == ("Чай", "270.00", 1)
    assert (worded["metadata"], worded["external_order_id"]) == ({"plan": "silver"}, "tea_1")
    assert (await changed(metadata=None))["metadata"] == {}
    dates = await changed(billing_period="weekly", billing_day=7, billing_time="09:30")
    assert (dates["billing_period"], dates["billing_day"], dates["billing_time"]) == ("weekly", 7, "09:30")
    assert dates["ends_at"] == "2030-01-01T00:00:00.000Z"
    assert (await changed(ends_at=None))["ends_at"] is None
    patient = await changed(max_retry_attempts=0, grace_period_days=0)
    assert (patient["max_retry_attempts"], patient["retry_interval_hours"], patient["grace_period_days"]) == (0, 24, 0)
    await done(shop.test, one, "cancel")
    await until_period(shop.test, one, "skipped")  # with the dates it had, though the calendar is another by now


async def test_a_carts_bill_has_its_lines_whatever_the_catalog_says_by_then(shop: Shop) -> None:
    tea = (await shop.test.post("/api/v1/catalog", json={"name": "Чай", "price": 33.33})).json()["items"][0]["id"]
    one = await begun(shop.test, amount=None, cart_items=[{"catalog_item_id": tea, "count": 3}], discount_percentage=10)
    assert (one["amount"], one["items"][0]["amount"]) == ("89.99", "89.99")
    assert (await shop.test.patch(f"/api/v1/catalog/{tea}", json={"price": 1, "archived": True})).status_code == 200
    bill = await bill_of(shop.test, one)
    assert (bill["amount"], bill["items"], bill["discount_percentage"]) == ("89.99", one["items"], "10.00")
    assert (await shop.simulate(bill["id"], "paid")).status_code == 200
    await until_status(shop.test, one, "active")
    await done(shop.test, one, "cancel")


async def test_what_was_done_stands_in_the_audit_log(shop: Shop) -> None:
    one = await begun(shop.test, started_at=FAR)
    await done(shop.test, one, "pause")
    rows = (await shop.test.get("/api/v1/audit-logs", params={"object_id": one["id"]})).json()["items"]
    assert [row["action"] for row in rows][-1] == "subscription.created"
    assert "subscription.pause" in [row["action"] for row in rows]
    assert {row["actor"]["type"] for row in rows if row["action"] == "subscription.pause"} == {"key"}
