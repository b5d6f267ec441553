"""What the books keep of a decision, as far as it is arithmetic."""

from datetime import UTC, datetime, timedelta

import msgspec

from domain.billing_calendar import BillingPeriod, Plan
from domain.subscription import (
    Change,
    ChargeCanceled,
    ChargeRef,
    Happening,
    SkipPeriod,
    Standing,
    State,
    Terms,
    TimeReached,
)
from domain.subscription_record import period_due
from domain.subscription_rules import begin, decide

START = datetime(2026, 1, 31, 5, tzinfo=UTC)
WEEKLY = Change(plan=Plan(period=BillingPeriod.WEEKLY, day=7))


def after(standing: Standing, *happenings: Happening, at: datetime = START) -> Standing:
    for happening in happenings:
        standing = decide(standing, happening, at).standing
    return standing


def billing() -> Standing:
    """Its first bill is out."""
    return after(begin(START, Plan(), Terms(amount=1)), TimeReached())


def test_a_period_that_outlived_its_calendar_is_closed_with_the_date_it_had() -> None:
    before = after(billing(), WEEKLY, WEEKLY, SkipPeriod())
    closed = after(before, ChargeCanceled(ref=ChargeRef(number=1, charge=1)))
    assert closed.open is None
    assert period_due(before, closed, 1) == START


def test_a_period_that_a_change_skipped_was_due_by_the_old_calendar() -> None:
    open_ = billing()
    later = START + timedelta(days=40)  # the second period fell due behind the open one
    changed = after(open_, WEEKLY, at=later)
    assert changed.next == 3
    assert period_due(open_, changed, 2) == datetime(2026, 2, 28, 5, tzinfo=UTC)


def test_a_standing_without_later_fields_is_read() -> None:
    standing = billing()
    old = msgspec.json.decode(msgspec.json.encode(standing))
    kept = {key: old[key] for key in ("started_at", "calendar", "terms")}
    assert msgspec.convert(kept, Standing, strict=False).state is State.ACTIVE
