"""What requests about recurring invoices may hold."""

from datetime import date, datetime, time, timedelta
from typing import Annotated, ClassVar

from msgspec import Meta

from api.apipay.bodies import AmountIn, DescriptionIn, PhoneIn, WebhookIn, checked_phone, optional_text
from api.bodies import RequestBody, Rule
from contracts.apipay_recurring import Interval
from domain.billing_calendar import ALMATY, BillingPeriod, Plan
from domain.errors import FieldError, invalid
from domain.money import parse_amount

# ApiPay knows days, not moments. Bills of a day that is still to come are made then, Asia/Almaty.
BILLING_TIME = time(10)

DayIn = Annotated[date, Meta(description="A day in Kazakhstan.", examples=["2026-12-01"])]


class RecurringRequest(RequestBody, kw_only=True):
    """A bill for every interval, from `start_date` (by default today, then at once) to `end_date`, both inclusive."""

    RULES: ClassVar[dict[str, Rule]] = {"amount": parse_amount, "phone_number": checked_phone}

    amount: AmountIn
    phone_number: PhoneIn
    description: DescriptionIn | None = None
    interval: Interval
    start_date: DayIn | None = None
    end_date: DayIn | None = None
    webhook_id: WebhookIn | None = None


class RecurringChange(RequestBody, kw_only=True):
    """What the next bills say, and how often they are made; what is left out stays."""

    RULES: ClassVar[dict[str, Rule]] = {"amount": parse_amount}

    amount: AmountIn | None = None
    description: DescriptionIn | None = None
    interval: Interval | None = None


def asked_start(asked: RecurringRequest) -> datetime | None:
    """The moment that its `start_date` names, whatever day it is now; None is now."""
    return None if asked.start_date is None else datetime.combine(asked.start_date, BILLING_TIME, ALMATY)


def plan_of(asked: RecurringRequest) -> Plan:
    """Its interval and its end; `TolemError` for a day that is no moment."""
    try:
        after = None if asked.end_date is None else datetime.combine(asked.end_date + timedelta(days=1), time(), ALMATY)
    except OverflowError:
        raise invalid(FieldError("end_date", "invalid", "Is out of range.")) from None
    return Plan(period=BillingPeriod(asked.interval), ends_at=after)


def start_of(asked: RecurringRequest, now: datetime, *faults: FieldError | None) -> datetime | None:
    """When a new one starts (None: now, also if that is today); `TolemError` names every wrong date, and `faults`."""
    today = now.astimezone(ALMATY).date()
    start = asked.start_date or today
    wrong = [one for one in faults if one is not None]
    if start < today:
        wrong.append(FieldError("start_date", "invalid", "Must not be in the past."))
    if asked.end_date is not None and asked.end_date < start:
        wrong.append(FieldError("end_date", "invalid", "Must not be before the start."))
    if start.year > today.year + 5:
        wrong.append(FieldError("start_date", "invalid", "Must not be more than five years ahead."))
    if wrong:
        raise invalid(*wrong)
    return None if start == today else asked_start(asked)


def description_of(asked: RecurringRequest | RecurringChange) -> str | None:
    """Blank means none."""
    return optional_text(asked.description)
