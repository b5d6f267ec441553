"""The JSON shapes of subscriptions, their periods and events, and test clocks."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from contracts.times import show, show_optional
from contracts.v1_items import sold
from contracts.v1_json import Amount, InvoiceItemJson, Moment, PeriodNewsJson
from domain.billing_calendar import BillingPeriod, upcoming_from
from domain.money import CURRENCY, format_amount
from domain.subscription import (
    CLOSED,
    MissedPolicy,
    PeriodState,
    Phase,
    SkipReason,
    Standing,
    State,
    Tell,
)
from domain.subscription_record import (
    ClockState,
    PayerAct,
    Subscription,
    SubscriptionNews,
    SubscriptionPeriod,
    TestClock,
)
from domain.subscription_statistics import Statistics

SHOWN_AHEAD = 3


class SubscriptionStatus(StrEnum):
    """The words for a subscription's state; `expired` is given up after its grace, `completed` has no period left."""

    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    CANCELED = "canceled"
    EXPIRED = "expired"
    COMPLETED = "completed"


class DueJson(msgspec.Struct, frozen=True, kw_only=True):
    """A period and when it is due."""

    number: int
    due_at: Moment


class OpenPeriodJson(msgspec.Struct, frozen=True, kw_only=True):
    """The period that is being billed.

    `phase`: `waiting` for the moment of its next bill, `live` and `withdrawing` while one is out, `grace` when no
    further bill is made and the payer has until `grace_until`.
    """

    number: int
    due_at: Moment
    amount: Annotated[Amount, Meta(description="What its next bill says; one that is out stays as it was made.")]
    phase: Phase
    next_bill_at: Moment | None
    grace_until: Moment | None
    bills: Annotated[int, Meta(description="How many bills were made, or were to be and the bank's faults prevented.")]
    failed_attempts: Annotated[int, Meta(description="Bills that the payer let expire or declined.")]
    bank_faults: Annotated[int, Meta(description="In a row: bills that could not be made. They burn no attempt.")]
    outcome_unknown: Annotated[bool, Meta(description="Nobody knows yet whether the newest bill exists.")]
    invoice_id: Annotated[str | None, Meta(description="The newest bill.")]


class SubscriptionJson(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription. `next_billing_at` is when the next bill is made by itself; null where none is."""

    id: Annotated[str, Meta(examples=["sub_2k4wz7h5ud7jq2m5v3o5y3c6dx"])]
    number: int
    external_order_id: str | None
    phone_number: str
    amount: Amount
    currency: Annotated[str, Meta(examples=[CURRENCY])]
    description: str
    discount_percentage: Annotated[str | None, Meta(examples=["10.00"])]
    items: Annotated[list[InvoiceItemJson], Meta(description="The cart as it was priced. Empty without one.")]
    status: SubscriptionStatus
    billing_period: BillingPeriod
    billing_day: Annotated[
        int | None, Meta(description="Of the month; weekly and biweekly: of the week, 1 is Monday. Null for daily.")
    ]
    billing_time: Annotated[str, Meta(examples=["10:00"], description="Asia/Almaty.")]
    bill_immediately: bool
    started_at: Moment
    ends_at: Moment | None
    total_cycles: int | None
    next_billing_at: Moment | None
    upcoming: Annotated[
        list[DueJson], Meta(description=f"The next {SHOWN_AHEAD} periods nothing was decided about; none while paused.")
    ]
    open_period: OpenPeriodJson | None
    cancel_at_period_end: bool
    max_retry_attempts: int
    retry_interval_hours: int
    grace_period_days: int
    missed_periods: MissedPolicy
    metadata: dict[str, str]
    is_sandbox: bool
    test_clock: str | None
    payer: Annotated[list[PayerAct], Meta(description="The scripted payer of a subscription on a test clock.")]
    created_at: Moment
    updated_at: Moment
    ended_at: Moment | None


class StatisticsJson(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it so far. `paid_amount` less `refunded_amount` is `net_amount`."""

    periods_billed: Annotated[
        int, Meta(description="Periods that were not skipped: paid, failed or still being billed.")
    ]
    periods_paid: int
    periods_failed: int
    periods_skipped: int
    bills: int
    paid_amount: Amount
    refunded_amount: Amount
    net_amount: Amount


class LastPaymentJson(msgspec.Struct, frozen=True, kw_only=True):
    """The newest payment."""

    invoice_id: str
    period: int
    amount: Amount
    paid_at: Moment


class SubscriptionDetailJson(SubscriptionJson, frozen=True, kw_only=True):
    """A subscription with what came of it."""

    statistics: StatisticsJson
    last_payment: LastPaymentJson | None


class PeriodJson(msgspec.Struct, frozen=True, kw_only=True):
    """A period that something was decided about. `reason` says why it was skipped."""

    number: int
    due_at: Moment
    status: PeriodState
    reason: SkipReason | None
    amount: Amount
    updated_at: Moment


class TestClockJson(msgspec.Struct, frozen=True, kw_only=True):
    """A clock of the sandbox. While it is `advancing`, `now` is where it was and `target` where it goes."""

    __test__ = False  # no test of pytest's

    id: Annotated[str, Meta(examples=["clk_4wz7h5uc5jq2m7v3o5y3c6d2xk"])]
    name: str
    state: ClockState
    now: Moment
    target: Moment | None
    created_at: Moment
    updated_at: Moment


def subscription(one: Subscription) -> SubscriptionJson:
    """The JSON of a subscription."""
    return SubscriptionJson(**_fields(one))


def detail(one: Subscription, statistics: Statistics) -> SubscriptionDetailJson:
    """The JSON of a subscription with what came of it."""
    last = statistics.last_payment
    return SubscriptionDetailJson(
        **_fields(one),
        statistics=StatisticsJson(
            periods_billed=statistics.periods_billed,
            periods_paid=statistics.periods_paid,
            periods_failed=statistics.periods_failed,
            periods_skipped=statistics.periods_skipped,
            bills=statistics.bills,
            paid_amount=format_amount(statistics.paid),
            refunded_amount=format_amount(statistics.refunded),
            net_amount=format_amount(statistics.paid - statistics.refunded),
        ),
        last_payment=None
        if last is None
        else LastPaymentJson(
            invoice_id=last.invoice_id,
            period=last.period,
            amount=format_amount(last.amount),
            paid_at=show(last.paid_at),
        ),
    )


class _Open(msgspec.Struct):
    invoice_id: str | None


class _Shown(msgspec.Struct):
    open_period: _Open | None


def newest_bill(answer: bytes) -> str | None:
    """The id of the newest bill of the period that was open when this JSON of a subscription was made, if any."""
    open_period = msgspec.json.decode(answer, type=_Shown).open_period
    return None if open_period is None else open_period.invoice_id


def period(one: SubscriptionPeriod) -> PeriodJson:
    """The JSON of a period."""
    return PeriodJson(
        number=one.number,
        due_at=show(one.due_at),
        status=one.state,
        reason=one.reason,
        amount=format_amount(one.amount),
        updated_at=show(one.updated_at),
    )


def due_dates(dates: Iterable[tuple[int, datetime]]) -> list[DueJson]:
    """The JSON of due moments."""
    return [DueJson(number=number, due_at=show(moment)) for number, moment in dates]


def news(one: SubscriptionNews) -> PeriodNewsJson:
    """What an event says beside the subscription."""
    told = one.told
    failed = told.what is Tell.PAYMENT_FAILED
    return PeriodNewsJson(
        number=told.number,
        last=told.last,
        invoice_id=one.invoice_id,
        charge=told.charge,
        failed_attempts=told.attempt,
        declined=told.declined if failed else None,
        reason=told.reason,
        paid=told.paid,
        until=show_optional(told.until),
    )


def clock(one: TestClock) -> TestClockJson:
    """The JSON of a test clock."""
    return TestClockJson(
        id=one.id,
        name=one.name,
        state=one.state,
        now=show(one.now_at),
        target=show_optional(one.target_at),
        created_at=show(one.created_at),
        updated_at=show(one.updated_at),
    )


def _fields(one: Subscription) -> dict[str, Any]:
    discount = one.discount_percentage
    return {
        "id": one.id,
        "number": one.number,
        "external_order_id": one.external_order_id,
        "phone_number": one.phone,
        "amount": format_amount(one.amount),
        "currency": CURRENCY,
        "description": one.description or "",
        "discount_percentage": None if discount is None else f"{discount:.2f}",
        "items": [sold(item) for item in one.items],
        "status": SubscriptionStatus(one.state),
        "billing_period": one.period,
        "billing_day": one.billing_day or None,
        "billing_time": one.billing_time.isoformat("seconds" if one.billing_time.second else "minutes"),
        "bill_immediately": one.bill_immediately,
        "started_at": show(one.started_at),
        "ends_at": show_optional(one.ends_at),
        "total_cycles": one.total_cycles,
        "next_billing_at": show_optional(one.next_billing_at),
        "upcoming": due_dates(_ahead(one.standing)),
        "open_period": _open(one),
        "cancel_at_period_end": one.cancel_at_period_end,
        "max_retry_attempts": one.max_retry_attempts,
        "retry_interval_hours": one.retry_interval_hours,
        "grace_period_days": one.grace_period_days,
        "missed_periods": one.missed,
        "metadata": one.metadata,
        "is_sandbox": one.is_sandbox,
        "test_clock": one.test_clock_id,
        "payer": one.payer,
        "created_at": show(one.created_at),
        "updated_at": show(one.updated_at),
        "ended_at": show_optional(one.ended_at),
    }


def _ahead(standing: Standing) -> list[tuple[int, datetime]]:
    """By the standing alone: an event shows the same whenever it is read."""
    if standing.state in CLOSED or standing.state is State.PAUSED or standing.cancel_at_period_end:
        return []
    return list(islice(upcoming_from(standing.calendar, standing.next), SHOWN_AHEAD))


def _open(one: Subscription) -> OpenPeriodJson | None:
    open_ = one.standing.open
    if open_ is None:
        return None
    return OpenPeriodJson(
        number=open_.number,
        due_at=show(open_.due_at),
        amount=format_amount(open_.terms.amount),
        phase=open_.phase,
        next_bill_at=show_optional(open_.at),
        grace_until=show_optional(open_.grace_until),
        bills=open_.charge,
        failed_attempts=open_.attempts,
        bank_faults=open_.faults,
        outcome_unknown=open_.unknown,
        invoice_id=one.invoice_id,
    )
