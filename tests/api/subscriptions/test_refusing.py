"""Subscriptions through the real API on a real socket, without an engine: refusals, kept answers, tenants."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from domain.billing_calendar import BillingPeriod, Plan
from domain.errors import Code
from domain.merchant import Mode
from operations.keys import add_key
from tests.api.subscriptions.keeper import ACTIONS, PATH, Keeper, fields_of, opened
from tests.db.books import BIN, Books
from tests.support.api_errors import assert_error

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

BODY: dict[str, Any] = {"phone_number": "77011234567", "amount": 10000}


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
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=60) as live:
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
    await keeper.keep(one.id, await keeper.print_of_creation(started_at), "sub-1")
    answer = await keeper.test.post(PATH, json=body, headers=headers)
    assert (answer.status_code, answer.content, answer.headers["idempotent-replayed"]) == (201, b"{}", "true")
    other = await keeper.test.post(PATH, json=body | {"amount": 10001}, headers=headers)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)


async def test_a_kept_answer_of_an_action_is_given_again_for_the_same_subscription_only(keeper: Keeper) -> None:
    one, two = await keeper.subscriber.open(sandbox=True), await keeper.subscriber.open(sandbox=True)
    print_ = await keeper.print_of("subscriptions.pause", one.id)
    await keeper.keep(one.id, print_, "pause-1", "subscriptions.pause")
    headers = {"Idempotency-Key": "pause-1"}
    again = await keeper.test.post(f"{PATH}/{one.id}/pause", headers=headers)
    assert (again.content, again.headers["idempotent-replayed"]) == (b"{}", "true")
    other = await keeper.test.post(f"{PATH}/{two.id}/pause", headers=headers)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)


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
