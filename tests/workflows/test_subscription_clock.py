"""A subscription on a test clock: every branch of its life, through real workflows, bills and books."""

from datetime import UTC, datetime, timedelta

from domain.billing_calendar import Plan
from domain.subscription import Dunning
from tests.workflows.subscription_stage import START, NewSubscription, script
from workflows.subscription_messages import PauseSubscription, ResumeSubscription

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
