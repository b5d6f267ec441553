"""The part of the examples that is about subscriptions and test clocks."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec

from contracts import v1_subscriptions as v1
from domain.billing_calendar import BillingPeriod, Plan
from domain.errors import Code, TolemError
from domain.ids import SUBSCRIPTION
from domain.subscription import (
    ChargePaid,
    ChargeRef,
    Dunning,
    Happening,
    Pause,
    PeriodState,
    Resume,
    SkipPeriod,
    Standing,
    Terms,
    TimeReached,
)
from domain.subscription_record import (
    ClockState,
    Subscription,
    SubscriptionPeriod,
    TestClock,
    next_billing,
)
from domain.subscription_rules import begin, decide, upcoming
from domain.subscription_statistics import LastPayment, Statistics

_AT = datetime(2026, 11, 22, 6, 17, 33, 120000, tzinfo=UTC)
_LATER = _AT + timedelta(minutes=12)
_PLAN = Plan(period=BillingPeriod.MONTHLY, day=30, at=time(10))
_DUNNING = Dunning()
_BILL = "inv_q3mjn2v7o5y3c6d2xk4wz7h5ua"


def _after(standing: Standing, *happenings: Happening, at: datetime = _AT) -> Standing:
    for happening in happenings:
        standing = decide(standing, happening, at).standing
    return standing


_BEGUN = _after(begin(_AT, _PLAN, Terms(amount=1_000_000, description="Абонплата"), _DUNNING), TimeReached())
_DUE = datetime(2026, 11, 30, 5, tzinfo=UTC)
_BILLING = _after(_BEGUN, TimeReached(), at=_DUE)
_PAID = _after(_BILLING, ChargePaid(ref=ChargeRef(number=1, charge=1)), at=_DUE + timedelta(minutes=4))


def _record(standing: Standing, *, at: datetime = _AT, invoice_id: str | None = None) -> Subscription:
    return Subscription(
        id=f"{SUBSCRIPTION}_2k4wz7h5ud7jq2m5v3o5y3c6dx",
        merchant_id="mer_6rzpebtuombeggmvdqnbyeugjy",
        number=7,
        is_sandbox=False,
        state=standing.state,
        phone="77011234567",
        amount=standing.terms.amount,
        period=standing.calendar.period,
        billing_day=standing.calendar.day,
        billing_time=standing.calendar.at,
        started_at=standing.started_at,
        max_retry_attempts=_DUNNING.max_retry_attempts,
        retry_interval_hours=_DUNNING.retry_interval_hours,
        grace_period_days=_DUNNING.grace_period_days,
        missed=_DUNNING.missed,
        standing=standing,
        description=standing.terms.description,
        metadata={"plan": "gold"},
        external_order_id="member_1042",
        next_billing_at=next_billing(standing),
        invoice_id=invoice_id,
        created_at=_AT,
        updated_at=at,
    )


BEGUN = _record(_BEGUN)
OPEN = _record(_BILLING, at=_DUE, invoice_id=_BILL)
PAID = _record(_PAID, at=_DUE + timedelta(minutes=4))
_PAUSED = _record(_after(_PAID, Pause(), at=_DUE + timedelta(days=1)), at=_DUE + timedelta(days=1))
_RESUMED = _record(_after(_PAUSED.standing, Resume(), at=_DUE + timedelta(days=2)), at=_DUE + timedelta(days=2))
_SKIPPED = _record(_after(_PAID, SkipPeriod(), at=_DUE + timedelta(days=1)), at=_DUE + timedelta(days=1))
_CANCELING = msgspec.structs.replace(
    _record(msgspec.structs.replace(_PAID, cancel_at_period_end=True), at=_DUE + timedelta(days=1)),
    cancel_at_period_end=True,
)
_DEARER = _record(
    msgspec.structs.replace(_PAID, terms=Terms(amount=1_200_000, description="Абонплата", revision=2)),
    at=_DUE + timedelta(days=1),
)
_STATISTICS = Statistics(
    periods_billed=1,
    periods_paid=1,
    periods_failed=0,
    periods_skipped=0,
    bills=1,
    paid=1_000_000,
    refunded=0,
    last_payment=LastPayment(invoice_id=_BILL, period=1, amount=1_000_000, paid_at=_DUE + timedelta(minutes=4)),
)
_PERIOD = SubscriptionPeriod(
    subscription_id=BEGUN.id,
    number=1,
    due_at=_DUE,
    state=PeriodState.PAID,
    revision=1,
    amount=1_000_000,
    updated_at=_DUE + timedelta(minutes=4),
)
CLOCK = TestClock(
    id="clk_4wz7h5uc5jq2m7v3o5y3c6d2xk",
    merchant_id=BEGUN.merchant_id,
    name="a year of billing",
    state=ClockState.READY,
    now_at=_AT,
    created_at=_AT,
    updated_at=_AT,
)
_ADVANCING = msgspec.structs.replace(
    CLOCK, state=ClockState.ADVANCING, target_at=_AT + timedelta(days=365), updated_at=_LATER
)
_PAGE = {"page": 1, "page_size": 20, "total": 1, "has_more": False, "next_cursor": None}

REQUESTS: dict[str, Any] = {
    "createSubscription": {
        "phone_number": "77011234567",
        "amount": 10000,
        "billing_period": "monthly",
        "billing_day": 30,
        "billing_time": "10:00",
        "description": "Абонплата",
        "external_order_id": "member_1042",
        "metadata": {"plan": "gold"},
        "is_sandbox": True,
    },
    "updateSubscription": {"amount": 12000, "apply": "next_period"},
    "cancelSubscription": {"at_period_end": True},
    "skipSubscriptionPeriod": {"preview": True},
    "createTestClock": {"name": CLOCK.name, "now": "2026-11-22T11:17:33+05:00"},
    "advanceTestClock": {"by": "P1Y"},
}
ANSWERS: dict[str, Any] = {
    "createSubscription": v1.subscription(BEGUN),
    "listSubscriptions": {"items": [v1.subscription(PAID)], **_PAGE},
    "getSubscription": v1.detail(PAID, _STATISTICS),
    "updateSubscription": v1.subscription(_DEARER),
    "pauseSubscription": v1.subscription(_PAUSED),
    "resumeSubscription": v1.subscription(_RESUMED),
    "cancelSubscription": v1.subscription(_CANCELING),
    "billSubscriptionNow": v1.subscription(OPEN),
    "skipSubscriptionPeriod": v1.subscription(_SKIPPED),
    "listSubscriptionPeriods": {
        "items": [v1.period(_PERIOD)],
        "page_size": 20,
        "has_more": False,
        "next_cursor": None,
    },
    "listUpcomingPeriods": {"items": v1.due_dates(upcoming(_PAID, 3, _DUE + timedelta(hours=1)))},
    "createTestClock": v1.clock(CLOCK),
    "listTestClocks": {"items": [v1.clock(CLOCK)]},
    "getTestClock": v1.clock(CLOCK),
    "advanceTestClock": v1.clock(_ADVANCING),
    "deleteTestClock": None,
}
# Of these 403 says that a test key is needed.
TEST_KEY_ONLY = {"createTestClock", "listTestClocks", "getTestClock", "advanceTestClock", "deleteTestClock"}
CONFLICTS: dict[str, TolemError] = {
    "updateSubscription": TolemError(Code.SUBSCRIPTION_CLOSED),
    "pauseSubscription": TolemError(Code.SUBSCRIPTION_PAUSED),
    "resumeSubscription": TolemError(Code.SUBSCRIPTION_NOT_PAUSED),
    "cancelSubscription": TolemError(Code.SUBSCRIPTION_CLOSED),
    "billSubscriptionNow": TolemError(Code.CHARGE_IN_FLIGHT),
    "skipSubscriptionPeriod": TolemError(Code.NO_PERIOD_LEFT),
    "createTestClock": TolemError(Code.LIMIT_REACHED, details={"limit": "20"}),
    "advanceTestClock": TolemError(Code.TEST_CLOCK_ADVANCING),
    "deleteTestClock": TolemError(Code.TEST_CLOCK_ADVANCING),
}
