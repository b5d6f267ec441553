"""Subscriptions through the real API on a real socket: lists, one, its periods, bills and dates."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta

import pytest

from domain.billing_calendar import BillingPeriod, Plan
from domain.errors import Code
from domain.subscription import Cancel, ChargeFailed, ChargeFaulted, ChargeRef, Pause, SkipPeriod, TimeReached
from tests.api.subscriptions.keeper import PATH, Keeper, fields_of
from tests.support.api_errors import assert_error
from tests.support.subscriptions import START

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

MONTH = timedelta(days=31)
NEXT_YEAR = datetime.now(UTC).year + 1
FEBRUARY = f"{NEXT_YEAR}-02-{monthrange(NEXT_YEAR, 2)[1]}"


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
    one = await keeper.subscriber.open(started_at=START.replace(year=NEXT_YEAR))
    dates = (await keeper.shown(one, "/upcoming", count=4))["items"]
    assert [(item["number"], item["due_at"][:10]) for item in dates] == [
        (1, f"{NEXT_YEAR}-01-31"),
        (2, FEBRUARY),
        (3, f"{NEXT_YEAR}-03-31"),
        (4, f"{NEXT_YEAR}-04-30"),
    ]
    assert len((await keeper.shown(one, "/upcoming"))["items"]) == 12
    assert len((await keeper.shown(one, "/upcoming", count=50))["items"]) == 50
    for count in (0, 51):
        answer = await keeper.live.get(f"{PATH}/{one.id}/upcoming", params={"count": count})
        assert_error(answer, Code.INVALID_REQUEST)
    await keeper.subscriber.happen(one.id, Cancel(), START)
    assert (await keeper.shown(one, "/upcoming"))["items"] == []


async def test_a_preview_of_a_skip_shows_the_dates_and_changes_nothing(keeper: Keeper) -> None:
    one = await keeper.subscriber.open(started_at=START.replace(year=NEXT_YEAR))
    before = await keeper.shown(one)
    answer = await keeper.live.post(f"{PATH}/{one.id}/skip-period", json={"preview": True})
    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert [item["number"] for item in preview["upcoming"]] == [2, 3, 4]
    assert preview["next_billing_at"][:10] == FEBRUARY
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
