"""What requests about subscriptions may hold."""

import re
from datetime import UTC, datetime, time
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, UnsetType

from api.bodies import Draft, RequestBody, Rule
from api.v1 import cart_bodies, fields
from domain import subscription_bounds as bounds
from domain.billing_calendar import MOST_CYCLES, BillingPeriod, Plan, day_fault
from domain.cart import MAX_LINES
from domain.errors import FieldError
from domain.subscription import Dunning, MissedPolicy
from domain.subscription_record import PayerAct

_DAY_TIME = re.compile(r"\d{2}:\d{2}(:\d{2})?", re.ASCII)
_DEFAULTS = Dunning()

# Their descriptions are the classes' own: one beside them would win or lose by the order of a set.
PeriodIn = BillingPeriod
DayIn = Annotated[
    int,
    Meta(
        ge=1,
        le=31,
        description="Day of the month; in shorter months the last one (the 31st is the 28th of February and the 31st of"
        " March). For weekly and biweekly the weekday, 1 (Monday) to 7. None for daily. By default the start's own.",
        examples=[31],
    ),
]
TimeIn = Annotated[
    str,
    Meta(
        max_length=8,
        pattern=r"^\d{2}:\d{2}(:\d{2})?$",
        description="When on that day, Asia/Almaty. By default the start's own time.",
        examples=["10:00"],
    ),
]
StartIn = Annotated[
    datetime,
    Meta(
        tz=True,
        description="With a time zone; now by default. The first bill is made on the first billing day at or after it."
        " At most a year ago (`missed_periods` says what becomes of periods that lie behind) and five ahead.",
        examples=["2026-12-01T00:00:00+05:00"],
    ),
]
EndIn = Annotated[
    datetime,
    Meta(
        tz=True,
        description="With a time zone. Periods that are due before it are billed.",
        examples=["2027-12-01T00:00:00+05:00"],
    ),
]
CyclesIn = Annotated[
    int,
    Meta(ge=1, le=MOST_CYCLES, description="How many periods there are, skipped ones too.", examples=[12]),
]
RetriesIn = Annotated[
    int,
    Meta(
        ge=0,
        le=bounds.MOST_RETRY_ATTEMPTS,
        description="How many further bills a period gets where the payer lets one expire or declines it.",
        examples=[_DEFAULTS.max_retry_attempts],
    ),
]
IntervalIn = Annotated[
    int,
    Meta(
        ge=1,
        le=bounds.MOST_RETRY_INTERVAL_HOURS,
        description="Hours from a bill's failure to the next bill.",
        examples=[_DEFAULTS.retry_interval_hours],
    ),
]
GraceIn = Annotated[
    int,
    Meta(
        ge=0,
        le=bounds.MOST_GRACE_PERIOD_DAYS,
        description="Days from the last failure until the subscription expires.",
        examples=[_DEFAULTS.grace_period_days],
    ),
]
MissedIn = MissedPolicy
CartIn = Annotated[
    list[cart_bodies.CartItem],
    Meta(
        min_length=1,
        max_length=MAX_LINES,
        description="What each bill is for, at today's prices: a new price in the catalog changes no subscription."
        " Without `amount` it is what they come to.",
    ),
]
MetadataIn = Annotated[
    dict[str, str],
    Meta(
        max_length=bounds.MOST_METADATA,
        description=f"Your own texts: up to {bounds.MOST_METADATA} keys of {bounds.MOST_METADATA_KEY} characters with"
        f" values of {bounds.MOST_METADATA_VALUE}. Shown to you only; no personal data, please.",
        examples=[{"plan": "gold"}],
    ),
]
ClockIn = Annotated[
    str,
    Meta(
        max_length=64,
        description="Sandbox only: the test clock that this subscription lives by.",
        examples=["clk_4wz7h5uc5jq2m7v3o5y3c6d2xk"],
    ),
]
PayerIn = Annotated[
    list[PayerAct],
    Meta(
        min_length=1,
        max_length=bounds.MOST_SCRIPTED,
        description="On a test clock only: what the payer does with each bill in turn, the last word with all that"
        " follow. `pays` by default; `ignores` lets the bill expire, `declines` refuses it.",
        examples=[["pays", "ignores", "pays"]],
    ),
]


def checked_time(value: str) -> time:
    """Local time to the second; used as a rule, and once more for the value."""
    if not _DAY_TIME.fullmatch(value):
        raise ValueError("must be a time such as 10:00 or 10:00:30")
    try:
        return time.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time between 00:00 and 23:59:59") from None


def checked_moment(value: datetime) -> datetime:
    """UTC, whole seconds; used as a rule, and once more for the value."""
    try:
        return value.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        raise ValueError("is out of range") from None


def checked_metadata(value: dict[str, str]) -> dict[str, str]:
    """Used as a rule: what can be kept."""
    fault = bounds.metadata_fault(value)
    if fault is not None:
        raise ValueError(fault)
    return value


_RULES: dict[str, Rule] = {
    **cart_bodies.RULES,
    "billing_time": checked_time,
    "started_at": checked_moment,
    "ends_at": checked_moment,
    "metadata": checked_metadata,
}


class SubscriptionCreate(RequestBody, kw_only=True):
    """A bill for each period, for an `amount` or for what `cart_items` come to now."""

    RULES: ClassVar[dict[str, Rule]] = {"phone_number": fields.checked_phone, **_RULES}

    phone_number: fields.PhoneIn
    amount: fields.AmountIn | None = None
    billing_period: PeriodIn = BillingPeriod.MONTHLY
    description: fields.DescriptionIn | None = None
    is_sandbox: fields.SandboxIn | None = None
    external_order_id: fields.OrderIdIn | None = None
    cart_items: CartIn | None = None
    discount_percentage: cart_bodies.DiscountIn | None = None
    billing_day: DayIn | None = None
    billing_time: TimeIn | None = None
    started_at: StartIn | None = None
    bill_immediately: Annotated[
        bool,
        Meta(
            description="The first bill at the start itself, the second on the billing day nearest to a whole period"
            " later: never a bill on the 31st and again on the 1st."
        ),
    ] = False
    ends_at: EndIn | None = None
    total_cycles: CyclesIn | None = None
    max_retry_attempts: RetriesIn = _DEFAULTS.max_retry_attempts
    retry_interval_hours: IntervalIn = _DEFAULTS.retry_interval_hours
    grace_period_days: GraceIn = _DEFAULTS.grace_period_days
    missed_periods: MissedIn = _DEFAULTS.missed
    metadata: MetadataIn | None = None
    test_clock: ClockIn | None = None
    payer: PayerIn | None = None

    @property
    def plan(self) -> Plan:
        """The dates that are asked for."""
        return Plan(
            period=self.billing_period,
            day=self.billing_day,
            at=None if self.billing_time is None else checked_time(self.billing_time),
            ends_at=None if self.ends_at is None else checked_moment(self.ends_at),
            total_cycles=self.total_cycles,
        )

    @property
    def dunning(self) -> Dunning:
        """The patience that is asked for."""
        return Dunning(
            max_retry_attempts=self.max_retry_attempts,
            retry_interval_hours=self.retry_interval_hours,
            grace_period_days=self.grace_period_days,
            missed=self.missed_periods,
        )


class Apply(StrEnum):
    """From when another amount, description or cart holds."""

    NEXT_PERIOD = "next_period"
    NOW = "now"


class SubscriptionUpdate(RequestBody, forbid_unknown_fields=True):
    """What is to be other than it was. A field that is left out stays as it is.

    Amount, description and cart hold from the next period, or with `apply: now` for the next bill of the period that is
    being billed; a bill that is out never changes. Another day, time or period begins where the paid time ends.
    """

    RULES: ClassVar[dict[str, Rule]] = _RULES

    amount: fields.AmountIn | UnsetType = UNSET
    description: fields.DescriptionIn | UnsetType | None = UNSET
    cart_items: CartIn | UnsetType = UNSET
    discount_percentage: cart_bodies.DiscountIn | UnsetType | None = UNSET
    apply: Apply = Apply.NEXT_PERIOD
    billing_period: PeriodIn | UnsetType = UNSET
    billing_day: DayIn | UnsetType = UNSET
    billing_time: TimeIn | UnsetType = UNSET
    ends_at: EndIn | UnsetType | None = UNSET
    total_cycles: CyclesIn | UnsetType | None = UNSET
    max_retry_attempts: RetriesIn | UnsetType = UNSET
    retry_interval_hours: IntervalIn | UnsetType = UNSET
    grace_period_days: GraceIn | UnsetType = UNSET
    missed_periods: MissedIn | UnsetType = UNSET
    metadata: Annotated[MetadataIn, Meta(description="Instead of all there was.")] | UnsetType | None = UNSET
    external_order_id: fields.OrderIdIn | UnsetType | None = UNSET


class SubscriptionCancel(RequestBody, forbid_unknown_fields=True):
    """When it ends."""

    at_period_end: Annotated[
        bool,
        Meta(
            description="Not now but when the next period would be due; `resume` takes it back until then. Without it"
            " a bill that is out is withdrawn."
        ),
    ] = False


class PeriodSkip(RequestBody, forbid_unknown_fields=True):
    """Whether to do it, or only to see what it would do."""

    preview: Annotated[bool, Meta(description="Change nothing, and answer with the dates as they would be.")] = False


def wrong_with_the_clock(draft: Draft[Any]) -> list[FieldError]:
    """What is wrong between `test_clock`, `payer` and `is_sandbox`, where each by itself is right."""
    clock, payer, sandbox = (draft.get(name) for name in ("test_clock", "payer", "is_sandbox"))
    found = []
    if isinstance(payer, list) and clock is None:
        found.append(FieldError("payer", "invalid", "Needs a test_clock: other sandbox bills are moved by simulate."))
    if isinstance(clock, str) and sandbox is False:
        found.append(FieldError("test_clock", "invalid", "Only sandbox subscriptions can have one."))
    return found


def wrong_day(draft: Draft[Any]) -> list[FieldError]:
    """A billing day that its period has not, where each by itself is right."""
    period, day = draft.get("billing_period"), draft.get("billing_day")
    if not isinstance(period, BillingPeriod) or not isinstance(day, int):
        return []
    fault = day_fault(period, day)
    return [] if fault is None else [FieldError("billing_day", "invalid", fault)]


def plan_of_draft(draft: Draft[Any]) -> Plan:
    """The dates that are asked for as far as they are right, without the day: `wrong_day` looks at that."""
    period, ends_at, cycles = (draft.get(name) for name in ("billing_period", "ends_at", "total_cycles"))
    return Plan(
        period=period if isinstance(period, BillingPeriod) else BillingPeriod.MONTHLY,
        ends_at=checked_moment(ends_at) if isinstance(ends_at, datetime) else None,
        total_cycles=cycles if isinstance(cycles, int) else None,
    )


def wrong_change(draft: Draft[Any]) -> list[FieldError]:
    """What is wrong between `cart_items` and `discount_percentage` of a change, where each by itself is right."""
    without_cart = draft.get("cart_items") is UNSET and not _is_wrong(draft, "cart_items")
    if without_cart and draft.get("discount_percentage") is not UNSET:
        message = "Needs cart_items: the old cart's prices are not looked up again."
        return [FieldError("discount_percentage", "invalid", message)]
    return []


def _is_wrong(draft: Draft[Any], field: str) -> bool:
    return any(error.field.split(".")[0] == field for error in draft.errors)
