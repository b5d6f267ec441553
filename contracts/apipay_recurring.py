"""The ApiPay v1.0 contract's recurring invoices: a subscription in its words."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from contracts.apipay import show
from contracts.apipay_answers import phone_of
from contracts.apipay_json import Amount, Moment, Number, PaginationMeta, Phone
from domain.billing_calendar import ALMATY, BillingPeriod
from domain.money import format_amount
from domain.subscription import State
from domain.subscription_record import Subscription

Day = Annotated[
    str, Meta(examples=["2026-12-01"], description="A day in Kazakhstan.", extra_json_schema={"format": "date"})
]


class Interval(StrEnum):
    """ApiPay's intervals; ours has two more, and such subscriptions are not shown here."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class RecurringStatus(StrEnum):
    """ApiPay's words: a subscription that waits for a late payment is active, one that is over is cancelled."""

    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"


_WORDS: dict[State, RecurringStatus] = {
    State.ACTIVE: RecurringStatus.ACTIVE,
    State.PAST_DUE: RecurringStatus.ACTIVE,
    State.PAUSED: RecurringStatus.PAUSED,
    State.CANCELED: RecurringStatus.CANCELLED,
    State.EXPIRED: RecurringStatus.CANCELLED,
    State.COMPLETED: RecurringStatus.CANCELLED,
}
SHOWN = [BillingPeriod(word) for word in Interval]


class RecurringJson(msgspec.Struct, frozen=True, kw_only=True):
    """A recurring invoice. `tolem_id` is its id in the v1 contract."""

    id: Number
    amount: Amount
    phone_number: Phone
    description: str
    interval: Interval
    status: RecurringStatus
    start_date: Day
    end_date: Day | UnsetType = UNSET
    next_billing_date: Day | UnsetType = UNSET
    created_at: Moment
    is_sandbox: bool
    tolem_id: Annotated[str, Meta(examples=["sub_q3mjn2v7o5y3c6d2xk4wz7h5ua"])]


class RecurringPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    data: list[RecurringJson]
    meta: PaginationMeta


def states_of(status: RecurringStatus) -> list[State]:
    """Every state that shows as this word."""
    return [state for state, word in _WORDS.items() if word is status]


def recurring(one: Subscription) -> RecurringJson:
    """The JSON of a subscription whose period ApiPay knows."""
    ends = None if one.ends_at is None else one.ends_at - timedelta(microseconds=1)
    return RecurringJson(
        id=one.number,
        amount=format_amount(one.amount),
        phone_number=phone_of(one.phone),
        description=one.description or "",
        interval=Interval(one.period),
        status=_WORDS[one.state],
        start_date=_day(one.started_at),
        end_date=UNSET if ends is None else _day(ends),
        next_billing_date=UNSET if one.next_billing_at is None else _day(one.next_billing_at),
        created_at=show(one.created_at),
        is_sandbox=one.is_sandbox,
        tolem_id=one.id,
    )


def _day(moment: datetime) -> str:
    return moment.astimezone(ALMATY).date().isoformat()
