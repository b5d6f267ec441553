"""Subscriptions through the real API on a real socket, as far as no engine is needed: what it reads and refuses."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from api.idempotency import fingerprint
from api.subscribing import OPERATION, AskedSubscription
from db.engine import as_merchant
from db.kept_answers import KeyedAnswer, keep_answer
from dev.postgres import Database
from domain.billing_calendar import BillingPeriod, Plan
from domain.errors import Code
from domain.merchant import Mode
from domain.subscription import Cancel, ChargeFailed, ChargeFaulted, ChargeRef, Dunning, Pause, SkipPeriod, TimeReached
from domain.subscription_record import Subscription
from operations.keys import add_key
from tests.api.serving import running_api
from tests.api.subscribers import START, Subscriber
from tests.db.books import BIN, Books, Shop
from tests.support.api_errors import assert_error

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

PATH = "/api/v1/subscriptions"
BODY: dict[str, Any] = {"phone_number": "77011234567", "amount": 10000}
ACTIONS = ("pause", "resume", "cancel", "bill-now", "skip-period")
MONTH = timedelta(days=31)


@pytest.fixture(scope="module")
async def books(postgres: Database) -> AsyncIterator[Books]:
    made = Books(postgres)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def url(books: Books) -> AsyncIterator[str]:
    async with running_api(books.database) as running:
        yield running.url


@dataclass
class Keeper:
    """A merchant that speaks with both keys, and its subscriptions in the books."""

    shop: Shop
    subscriber: Subscriber
    live: httpx.AsyncClient
    test: httpx.AsyncClient

    async def listed(self, client: httpx.AsyncClient | None = None, **params: Any) -> list[str]:
        answer = await (client or self.live).get(PATH, params=params)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    async def shown(self, one: Subscription, path: str = "", **params: Any) -> dict[str, Any]:
        answer = await self.live.get(f"{PATH}/{one.id}{path}", params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def keeper(books: Books, url: str) -> AsyncIterator[Keeper]:
    made = await opened(books, url)
    yield made
    await made.live.aclose()
    await made.test.aclose()


async def opened(books: Books, url: str) -> Keeper:
    shop = await books.merchant()
    keys = {mode: await add_key(books.registry, shop.id, mode, "k") for mode in Mode}
    clients = {
        mode: httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=30)
        for mode, key in keys.items()
    }
    return Keeper(shop, Subscriber(shop), clients[Mode.LIVE], clients[Mode.TEST])


def fields_of(body: dict[str, Any]) -> list[str]:
    return [error["field"] for error in body["errors"]]


# --- what is refused before anybody is asked


async def test_every_wrong_field_is_named_at_once_also_what_is_wrong_together(keeper: Keeper) -> None:
    body = {
        "phone_number": "1",
        "billing_day": 32,
        "started_at": "1999-01-01T00:00:00Z",
        "total_cycles": 0,
        "payer": ["pays"],
        "discount_percentage": 10,
    }
    answer = await keeper.live.post(PATH, json=body)
    assert sorted(fields_of(assert_error(answer, Code.INVALID_REQUEST))) == sorted(
        ["phone_number", "billing_day", "total_cycles", "amount", "discount_percentage", "payer", "started_at"]
    )
    assert fields_of(assert_error(await keeper.live.post(PATH, json={}), Code.INVALID_REQUEST)) == [
        "phone_number",
        "amount",
    ]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"started_at": "2000-01-01T00:00:00Z"}, "started_at"),
        ({"started_at": "2190-01-01T00:00:00Z"}, "started_at"),
        ({"ends_at": "2001-01-01T00:00:00Z"}, "ends_at"),
        ({"ends_at": "2300-01-01T00:00:00Z"}, "ends_at"),
        ({"billing_period": "daily", "billing_day": 1}, "billing_day"),
        ({"test_clock": "clk_1"}, "test_clock"),
    ],
    ids=str,
)
async def test_dates_that_cannot_be_are_named(keeper: Keeper, fields: dict[str, Any], named: str) -> None:
    answer = await keeper.live.post(PATH, json=BODY | fields)
    assert fields_of(assert_error(answer, Code.INVALID_REQUEST)) == [named]


async def test_a_test_clock_that_is_none_is_named(keeper: Keeper) -> None:
    for clock in ("clk_none", "x\u0000y"):
        answer = await keeper.test.post(PATH, json=BODY | {"test_clock": clock})
        assert fields_of(assert_error(answer, Code.INVALID_REQUEST)) == ["test_clock"]


async def test_a_cart_is_priced_before_anything_is_begun(keeper: Keeper) -> None:
    cart = [{"catalog_item_id": "cat_none", "count": 1}]
    answer = await keeper.live.post(PATH, json={"phone_number": "77011234567", "cart_items": cart})
    assert fields_of(assert_error(answer, Code.INVALID_REQUEST)) == ["cart_items.0.catalog_item_id"]


async def test_a_test_key_cannot_begin_a_live_one(keeper: Keeper) -> None:
    answer = await keeper.test.post(PATH, json=BODY | {"is_sandbox": False})
    assert_error(answer, Code.FORBIDDEN_MODE)


async def test_a_live_one_needs_a_bank(books: Books, url: str) -> None:
    alone = await books.registry.add_merchant("No bank", BIN)
    key = await add_key(books.registry, alone.id, Mode.LIVE, "k")
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, trust_env=False) as live:
        assert_error(await live.post(PATH, json=BODY), Code.KASPI_NOT_CONNECTED)


async def test_without_an_engine_nothing_is_begun_and_the_answer_says_so(keeper: Keeper) -> None:
    assert_error(await keeper.live.post(PATH, json=BODY), Code.ENGINE_UNAVAILABLE)
    assert await keeper.listed() == []


async def test_a_kept_answer_needs_neither_an_engine_nor_a_date_that_is_still_right(keeper: Keeper) -> None:
    one = await keeper.subscriber.open(sandbox=True)
    started_at = datetime(2020, 1, 1, tzinfo=UTC)
    body = BODY | {"started_at": "2020-01-01T05:00:00+05:00", "is_sandbox": True}
    headers = {"Idempotency-Key": "sub-1"}
    refused = await keeper.test.post(PATH, json=body, headers=headers)
    assert fields_of(assert_error(refused, Code.INVALID_REQUEST)) == ["started_at"]
    await kept(keeper, one, await print_of(keeper, started_at), "sub-1")
    answer = await keeper.test.post(PATH, json=body, headers=headers)
    assert (answer.status_code, answer.content, answer.headers["idempotent-replayed"]) == (201, b"{}", "true")
    other = await keeper.test.post(PATH, json=body | {"amount": 10001}, headers=headers)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)


async def print_of(keeper: Keeper, started_at: datetime) -> str:
    """What `BODY` with this start is known by."""
    asked = AskedSubscription(
        phone="77011234567",
        amount=1_000_000,
        cart=None,
        description=None,
        external_order_id=None,
        is_sandbox=True,
        plan=Plan(),
        dunning=Dunning(),
        started_at=started_at,
        bill_immediately=False,
        metadata={},
        test_clock=None,
        payer=[],
    )
    (row,) = await keeper.shop.books.fetch("select id_salt from merchants where id = :id", id=keeper.shop.id)
    return fingerprint(row["id_salt"], OPERATION, *msgspec.structs.astuple(asked))


async def kept(keeper: Keeper, one: Subscription, print_: str, key: str, operation: str = OPERATION) -> None:
    """An answer is kept for the key, as the books do with what they write."""
    keyed = KeyedAnswer(mode=Mode.TEST, operation=operation, key=key, fingerprint=print_, status=201, body=b"{}")
    async with as_merchant(keeper.shop.books.app, keeper.shop.id) as connection:
        assert await keep_answer(connection, keeper.shop.id, one.id, keyed)


async def test_a_kept_answer_of_an_action_is_given_again_for_the_same_subscription_only(keeper: Keeper) -> None:
    one, two = await keeper.subscriber.open(sandbox=True), await keeper.subscriber.open(sandbox=True)
    (row,) = await keeper.shop.books.fetch("select id_salt from merchants where id = :id", id=keeper.shop.id)
    print_ = fingerprint(row["id_salt"], "subscriptions.pause", one.id)
    await kept(keeper, one, print_, "pause-1", "subscriptions.pause")
    headers = {"Idempotency-Key": "pause-1"}
    again = await keeper.test.post(f"{PATH}/{one.id}/pause", headers=headers)
    assert (again.content, again.headers["idempotent-replayed"]) == (b"{}", "true")
    other = await keeper.test.post(f"{PATH}/{two.id}/pause", headers=headers)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)


# --- reading


async def test_one_is_shown_with_what_came_of_it(keeper: Keeper) -> None:
    subscriber = keeper.subscriber
    one = await subscriber.open(external_order_id="member_1", metadata={"plan": "gold"})
    first = await subscriber.billed(one.id, START)
    await subscriber.paid(one.id, first, START + timedelta(minutes=3))
    await subscriber.happen(one.id, SkipPeriod(), START + timedelta(days=1))
    second = await subscriber.billed(one.id, START + 2 * MONTH)
    shown = await keeper.shown(one)
    assert shown["statistics"] == {
        "periods_billed": 2,
        "periods_paid": 1,
        "periods_failed": 0,
        "periods_skipped": 1,
        "bills": 2,
        "paid_amount": "5000.00",
        "refunded_amount": "0.00",
        "net_amount": "5000.00",
    }
    assert (shown["last_payment"]["invoice_id"], shown["last_payment"]["period"]) == (first.id, 1)
    assert (shown["open_period"]["number"], shown["open_period"]["invoice_id"]) == (3, second.id)
    assert (shown["status"], shown["metadata"]) == ("active", {"plan": "gold"})
    invoices = await keeper.shown(one, "/invoices")
    assert [(item["id"], item["subscription_id"], item["subscription_period"]) for item in invoices["items"]] == [
        (second.id, one.id, 3),
        (first.id, one.id, 1),
    ]
    periods = (await keeper.shown(one, "/periods"))["items"]
    assert [(item["number"], item["status"], item["reason"]) for item in periods] == [
        (3, "billing", None),
        (2, "skipped", "merchant"),
        (1, "paid", None),
    ]
    assert [item["due_at"][:10] for item in periods] == ["2026-03-31", "2026-02-28", "2026-01-31"]


async def test_statistics_tell_what_went_back_and_count_a_bill_that_was_never_issued_as_none(keeper: Keeper) -> None:
    subscriber = keeper.subscriber
    one = await subscriber.open()
    await subscriber.happen(one.id, TimeReached(), START)
    await subscriber.happen(one.id, ChargeFaulted(ref=ChargeRef(number=1, charge=1)), START)
    bill = await subscriber.billed(one.id, START + timedelta(hours=1))
    await subscriber.paid(one.id, bill, START + timedelta(hours=2))
    await keeper.shop.refund(await keeper.shop.invoice(bill.id), 12_345)
    statistics = (await keeper.shown(one))["statistics"]
    assert (statistics["bills"], statistics["paid_amount"]) == (1, "5000.00")
    assert (statistics["refunded_amount"], statistics["net_amount"]) == ("123.45", "4876.55")


async def test_one_that_nothing_happened_to_has_no_payment(keeper: Keeper) -> None:
    shown = await keeper.shown(await keeper.subscriber.open())
    assert (shown["last_payment"], shown["open_period"], shown["statistics"]["bills"]) == (None, None, 0)
    assert (await keeper.shown(await keeper.subscriber.open(), "/periods"))["items"] == []


async def test_a_list_finds_by_everything_it_promises(keeper: Keeper) -> None:
    subscriber = keeper.subscriber
    one = await subscriber.open(phone="77010000001", external_order_id="member_1")
    two = await subscriber.open(phone="77010000002")
    sandbox = await subscriber.open(sandbox=True, phone="77010000001")
    await subscriber.happen(two.id, Pause(), START)
    assert await keeper.listed() == [sandbox.id, two.id, one.id]
    assert await keeper.listed(phone_number="8 701 000 00 01") == [sandbox.id, one.id]
    assert await keeper.listed(status="paused") == [two.id]
    assert await keeper.listed(status="paused,active", is_sandbox="false") == [two.id, one.id]
    assert await keeper.listed(external_order_id="member_1") == [one.id]
    assert await keeper.listed(search="member_") == [one.id]
    assert await keeper.listed(search="0000002") == [two.id]
    assert one.id in await keeper.listed(search=str(one.number))  # a digit is part of phones, too
    assert await keeper.listed(search="абонПЛАТА", is_sandbox="true") == [sandbox.id]
    assert await keeper.listed(search="%") == []
    assert await keeper.listed(test_clock="clk_1") == []
    assert await keeper.listed(date_from="2999-01-01") == []
    assert await keeper.listed(date_to="2999-01-01", is_sandbox="true") == [sandbox.id]


async def test_a_list_goes_on_by_page_and_by_cursor(keeper: Keeper) -> None:
    made = [(await keeper.subscriber.open()).id for _ in range(5)][::-1]
    first = (await keeper.live.get(PATH, params={"page_size": 2})).json()
    assert (first["total"], first["has_more"]) == (5, True)
    rest = (await keeper.live.get(PATH, params={"page_size": 3, "cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == made
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)
    assert await keeper.listed(page=2, page_size=2) == made[2:4]


async def test_every_wrong_filter_is_named(keeper: Keeper) -> None:
    answer = await keeper.live.get(
        f"{PATH}?status=gone&phone_number=1&search=a%00&external_order_id=b%00&test_clock=c%00&cursor=x"
    )
    assert sorted(fields_of(assert_error(answer, Code.INVALID_REQUEST))) == [
        "cursor",
        "external_order_id",
        "phone_number",
        "search",
        "status",
        "test_clock",
    ]


async def test_periods_go_on_by_cursor_and_are_filtered(keeper: Keeper) -> None:
    one = await keeper.subscriber.open(plan=Plan(period=BillingPeriod.DAILY))
    await keeper.subscriber.happen(one.id, TimeReached(), START + timedelta(days=6))
    first = await keeper.shown(one, "/periods", page_size=3)
    assert [item["number"] for item in first["items"]] == [7, 6, 5]
    rest = await keeper.shown(one, "/periods", page_size=10, cursor=first["next_cursor"])
    assert [item["number"] for item in rest["items"]] == [4, 3, 2, 1]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)
    billing = await keeper.shown(one, "/periods", status="billing,paid")
    assert [item["number"] for item in billing["items"]] == [7]
    for wrong in ("x", "OTk5OTk5OTk5OTk5OTk"):
        answer = await keeper.live.get(f"{PATH}/{one.id}/periods", params={"cursor": wrong, "status": "gone"})
        assert sorted(fields_of(assert_error(answer, Code.INVALID_REQUEST))) == ["cursor", "status"]


async def test_the_next_dates_are_those_of_the_31st(keeper: Keeper) -> None:
    year = 2026 + 1  # the present is in it or before
    start = START.replace(year=year)
    one = await keeper.subscriber.open(started_at=start)
    dates = (await keeper.shown(one, "/upcoming", count=4))["items"]
    assert [(item["number"], item["due_at"][:10]) for item in dates] == [
        (1, "2027-01-31"),
        (2, "2027-02-28"),
        (3, "2027-03-31"),
        (4, "2027-04-30"),
    ]
    assert len((await keeper.shown(one, "/upcoming"))["items"]) == 12
    assert len((await keeper.shown(one, "/upcoming", count=50))["items"]) == 50
    for count in (0, 51):
        answer = await keeper.live.get(f"{PATH}/{one.id}/upcoming", params={"count": count})
        assert_error(answer, Code.INVALID_REQUEST)
    await keeper.subscriber.happen(one.id, Cancel(), START)
    assert (await keeper.shown(one, "/upcoming"))["items"] == []


async def test_a_preview_of_a_skip_shows_the_dates_and_changes_nothing(keeper: Keeper) -> None:
    one = await keeper.subscriber.open(started_at=START.replace(year=2027))
    before = await keeper.shown(one)
    answer = await keeper.live.post(f"{PATH}/{one.id}/skip-period", json={"preview": True})
    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert [item["number"] for item in preview["upcoming"]] == [2, 3, 4]
    assert preview["next_billing_at"][:10] == "2027-02-28"
    assert await keeper.shown(one) == before
    await keeper.subscriber.happen(one.id, Pause(), START)
    refused = await keeper.live.post(f"{PATH}/{one.id}/skip-period", json={"preview": True})
    assert_error(refused, Code.SUBSCRIPTION_PAUSED)


async def test_a_failed_attempt_is_shown_with_the_moment_of_the_next_bill(keeper: Keeper) -> None:
    one = await keeper.subscriber.open()
    await keeper.subscriber.billed(one.id, START)
    await keeper.subscriber.happen(one.id, ChargeFailed(ref=ChargeRef(number=1, charge=1), declined=True), START)
    shown = await keeper.shown(one)
    assert (shown["status"], shown["open_period"]["failed_attempts"]) == ("past_due", 1)
    assert shown["next_billing_at"] == shown["open_period"]["next_bill_at"] == "2026-02-01T05:00:00.000Z"


# --- changes and actions without an engine


async def test_a_change_of_nothing_asks_nobody(keeper: Keeper) -> None:
    one = await keeper.subscriber.open()
    for body in ({}, {"apply": "now"}):
        answer = await keeper.live.patch(f"{PATH}/{one.id}", json=body)
        assert (answer.status_code, answer.json()["id"]) == (200, one.id)


async def test_wrong_changes_are_named(keeper: Keeper) -> None:
    one = await keeper.subscriber.open()
    path = f"{PATH}/{one.id}"
    body = {"amount": -1, "billing_day": 40, "colour": "red", "discount_percentage": 5}
    assert sorted(fields_of(assert_error(await keeper.live.patch(path, json=body), Code.INVALID_REQUEST))) == [
        "amount",
        "billing_day",
        "colour",
        "discount_percentage",
    ]
    weekly = await keeper.subscriber.open(plan=Plan(period=BillingPeriod.WEEKLY))
    answer = await keeper.live.patch(f"{PATH}/{weekly.id}", json={"billing_day": 8})
    assert fields_of(assert_error(answer, Code.INVALID_REQUEST)) == ["billing_day"]
    answer = await keeper.live.patch(path, json={"ends_at": "2026-01-01T00:00:00Z"})
    assert fields_of(assert_error(answer, Code.INVALID_REQUEST)) == ["ends_at"]


@pytest.mark.parametrize("action", ACTIONS)
async def test_without_an_engine_an_action_says_that_it_may_come_later(
    keeper: Keeper, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.acting.PATIENCE_SECONDS", 0.5)
    one = await keeper.subscriber.open()
    assert_error(await keeper.live.post(f"{PATH}/{one.id}/{action}"), Code.ENGINE_SLOW)


# --- tenants


async def test_a_strangers_subscription_and_what_is_none_are_not_found(keeper: Keeper, books: Books, url: str) -> None:
    one = await keeper.subscriber.open()
    other = await opened(books, url)
    for id_ in (one.id, "sub_none", "x%00y"):
        for path in ("", "/invoices", "/periods", "/upcoming"):
            assert_error(await other.live.get(f"{PATH}/{id_}{path}"), Code.NOT_FOUND)
        for action in ACTIONS:
            assert_error(await other.live.post(f"{PATH}/{id_}/{action}"), Code.NOT_FOUND)
        assert_error(await other.live.patch(f"{PATH}/{id_}", json={"amount": 1}), Code.NOT_FOUND)
    assert await other.listed() == []
    await other.live.aclose()
    await other.test.aclose()


async def test_a_test_key_sees_and_touches_sandbox_subscriptions_only(keeper: Keeper) -> None:
    live, sandbox = await keeper.subscriber.open(), await keeper.subscriber.open(sandbox=True)
    assert await keeper.listed(keeper.test) == [sandbox.id]
    assert await keeper.listed(keeper.test, is_sandbox="false") == [sandbox.id]
    assert (await keeper.test.get(f"{PATH}/{sandbox.id}")).status_code == 200
    for path in ("", "/invoices", "/periods", "/upcoming"):
        assert_error(await keeper.test.get(f"{PATH}/{live.id}{path}"), Code.NOT_FOUND)
    for action in ACTIONS:
        assert_error(await keeper.test.post(f"{PATH}/{live.id}/{action}"), Code.NOT_FOUND)
    assert_error(await keeper.test.patch(f"{PATH}/{live.id}", json={"amount": 1}), Code.NOT_FOUND)


async def test_a_subscription_that_the_banks_faults_hold_up_is_a_job(keeper: Keeper) -> None:
    one = await keeper.subscriber.open()
    await keeper.subscriber.open()
    await keeper.subscriber.happen(one.id, TimeReached(), START)
    await keeper.subscriber.happen(one.id, ChargeFaulted(ref=ChargeRef(number=1, charge=1)), START)
    answer = await keeper.live.get("/api/v1/jobs", params={"kind": "subscription"})
    assert answer.status_code == 200, answer.text
    (job,) = answer.json()["items"]
    assert (job["id"], job["object_id"], job["state"], job["attempts"]) == (one.id, one.id, "retrying", 1)
    assert job["next_attempt_at"] == "2026-01-31T05:05:00.000Z"
    assert job["workflow_id"] == f"subscription-{one.id}"
