"""A subscription on a test clock: every branch of its life, through real workflows, bills and books."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from activities.subscribing import STANDS_STILL_PAUSES
from db.endpoints import Asker
from domain.billing_calendar import BillingPeriod, Plan
from domain.event import Attempted
from domain.subscription import Dunning
from domain.subscription_record import SubscriptionRef, TestClock
from tests.support.waiting import until
from tests.workflows.subscription_stage import START, NewSubscription, SubscriptionStage, on_a_clock, script
from workflows.subscription_messages import Advanced, PauseSubscription, ResumeSubscription

MONTH = timedelta(days=31)


async def test_a_year_is_billed_period_by_period(new_subscription: NewSubscription) -> None:
    one = await new_subscription(plan=Plan(day=31), started_at=START)
    arrived = await one.advance(datetime(2027, 1, 15, 5, tzinfo=UTC))
    assert arrived == datetime(2027, 1, 15, 5, tzinfo=UTC)
    assert await one.periods() == [(number, "paid", None) for number in range(1, 13)]
    assert await one.bills() == [(number, 1, "paid") for number in range(1, 13)]
    assert [(due + timedelta(hours=5)).day for due in await one.dues()] == [
        31,
        28,
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ]
    assert await one.told() == ["payment_succeeded"] * 12
    assert await one.received() == list(range(1, 13))
    row = await one.row()
    assert (row.state, row.clock_at) == ("active", arrived)


async def test_failures_are_retried_then_grace_then_the_end(new_subscription: NewSubscription) -> None:
    one = await new_subscription(payer=script("pid"), dunning=Dunning(max_retry_attempts=1), started_at=START)
    await one.advance(timedelta(days=60))
    assert await one.bills() == [(1, 1, "paid"), (2, 1, "expired"), (2, 2, "canceled")]
    assert await one.periods() == [(1, "paid", None), (2, "failed", None)]
    assert await one.told() == [
        "payment_succeeded", "payment_failed", "payment_failed", "grace_period_started", "expired",
    ]  # fmt: skip
    assert (await one.row()).state == "expired"
    await one.until_over()


async def test_a_pause_bills_nothing_and_resume_no_burst(new_subscription: NewSubscription) -> None:
    one = await new_subscription(started_at=START)
    await one.advance(timedelta(days=1))
    await one.act(PauseSubscription())
    await one.advance(timedelta(days=100))
    await one.act(ResumeSubscription())
    await one.advance(timedelta(days=20))
    assert await one.periods() == [
        (1, "paid", None), (2, "skipped", "paused"), (3, "skipped", "paused"), (4, "skipped", "paused"),
        (5, "paid", None),
    ]  # fmt: skip
    assert await one.told() == [
        "payment_succeeded", "paused", "period_skipped", "resumed", "payment_succeeded",
    ]  # fmt: skip


async def test_a_clock_that_is_sent_on_the_moment_it_is_ready_goes_on(
    new_subscription: NewSubscription, subscription_stage: SubscriptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await new_subscription(started_at=START)
    clocks, engine, clock_id = subscription_stage.clocks, subscription_stage.engine, one.order.test_clock_id
    assert clock_id is not None
    reached, asker = clocks.reached, Asker(merchant_id=one.shop.id, key_id="key_1", sandbox_only=True)

    async def reached_and_sent_on(merchant_id: str, id_: str, target: datetime) -> TestClock | None:
        # Who reads that it is ready does not wait for the run of its workflow to be over.
        monkeypatch.undo()
        clock = await reached(merchant_id, id_, target)
        await clocks.advance(asker, id_, MONTH)
        await engine.advance_clock(merchant_id, id_)
        return clock

    monkeypatch.setattr(clocks, "reached", reached_and_sent_on)
    await one.advance(timedelta(days=1))

    async def arrived() -> bool:
        clock = await clocks.clock(one.shop.id, clock_id)
        return clock is not None and (clock.state, clock.now_at) == ("ready", START + timedelta(days=1) + MONTH)

    await until(arrived, "the clock to come to its second target")
    assert await one.periods() == [(1, "paid", None), (2, "paid", None)]


async def test_more_clocks_than_may_be_on_their_way_arrive_one_after_another(
    subscription_stage: SubscriptionStage, subscription_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.subscribing.ADVANCES_AT_ONCE", 1)
    monkeypatch.setattr("activities.subscribing.ADVANCE_COMES_BACK", timedelta(milliseconds=50))
    them = [await on_a_clock(subscription_stage, f"{subscription_id[:55]}{n}", started_at=START) for n in range(3)]
    for one in them:
        await one.open()
    carried, on_their_way, most = subscription_stage.clocks.carried, set[str](), 0
    reached = subscription_stage.clocks.reached

    async def sets_out(merchant_id: str, clock_id: str) -> list[SubscriptionRef]:
        nonlocal most
        on_their_way.add(clock_id)
        most = max(most, len(on_their_way))
        return await carried(merchant_id, clock_id)

    async def arrives(merchant_id: str, clock_id: str, target: datetime) -> TestClock | None:
        on_their_way.discard(clock_id)
        return await reached(merchant_id, clock_id, target)

    monkeypatch.setattr(subscription_stage.clocks, "carried", sets_out)
    monkeypatch.setattr(subscription_stage.clocks, "reached", arrives)
    arrived = await asyncio.gather(*(one.advance(MONTH) for one in them))
    assert arrived == [START + MONTH] * 3
    assert most == 1


async def test_a_run_that_waits_for_a_slow_receiver_is_asked_less_and_less_often(
    new_subscription: NewSubscription, subscription_stage: SubscriptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await new_subscription(plan=Plan(period=BillingPeriod.DAILY), started_at=START)
    advance, first = subscription_stage.engine.advance_subscription, subscription_stage.receivers.first
    answered, asked = asyncio.Event(), list[tuple[datetime, float]]()

    async def slow(merchant_id: str, delivery_id: str) -> Attempted:
        await answered.wait()
        return await first(merchant_id, delivery_id)

    async def counted(ref: SubscriptionRef, to: datetime, *, wait: float) -> Advanced:
        begun = time.monotonic()
        came = await advance(ref, to, wait=wait)
        asked.append((came.at, begun))
        if [at for at, _ in asked].count(came.at) == 6:
            answered.set()
        return came

    monkeypatch.setattr(subscription_stage.receivers, "first", slow)
    monkeypatch.setattr(subscription_stage.engine, "advance_subscription", counted)
    to = START + timedelta(days=6)
    assert await one.advance(to) == to
    assert [state for _, state, _ in await one.periods()] == ["paid"] * 7
    assert await one.received() == list(range(1, 8))
    stood = [begun for at, begun in asked if at == asked[0][0]]
    pauses = [later - earlier for earlier, later in pairwise(stood[1:6])]
    assert all(waited >= least for waited, least in zip(pauses, STANDS_STILL_PAUSES, strict=False)), pauses


async def test_a_bill_of_a_test_clock_expires_by_that_clock_alone(new_subscription: NewSubscription) -> None:
    one = await new_subscription(payer=script("i"), started_at=START)
    bill = await one.live_bill()
    assert (await one.stage.books.watches.order(one.shop.id, bill)).on_test_clock  # also when its story begins again
    await one.advance(timedelta(hours=23))
    assert await one.bills() == [(1, 1, "pending")]
    await one.advance(timedelta(hours=1))
    assert await one.bills() == [(1, 1, "expired")]
    story = await one.stage.client.get_workflow_handle(f"invoice-{bill}").fetch_history()
    assert not [event for event in story.events if event.HasField("timer_started_event_attributes")]
