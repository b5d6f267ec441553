"""The subscription in the books: its record and periods, the commands that make and change it, what its events carry.

What follows from what is decided purely (`domain.subscription_rules`); here stand the shapes in which it is kept.
"""

from datetime import datetime, time
from decimal import Decimal
from enum import StrEnum

import msgspec

from domain import invoice
from domain.billing_calendar import BillingPeriod, Plan, due, last_number
from domain.cart import InvoiceItem
from domain.ids import INVOICE, derived_id
from domain.invoice import Attention, DeliveryRef, OpenInvoice
from domain.subscription import (
    CLOSED,
    ChargeRef,
    Dunning,
    MissedPolicy,
    PeriodChange,
    PeriodState,
    Phase,
    SkipReason,
    Standing,
    State,
    Terms,
    Told,
)


class PayerAct(StrEnum):
    """What the scripted payer of a test clock does with a bill."""

    PAYS = "pays"
    IGNORES = "ignores"  # the bill expires at its deadline, by the clock
    DECLINES = "declines"


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """One subscription. Amount in tiyn, times aware UTC, `billing_time` local (Asia/Almaty).

    `next_billing_at` is when the next bill is due, None where none is; `invoice_id` the newest bill of the period that
    is being billed, which a moment after its decision may not exist yet. `version` counts decisions, `sequence` events.
    `clock_at` is how far its test clock has taken it, `billed_at` when the bill was decided, by the same clock.
    """

    id: str
    merchant_id: str
    number: int
    is_sandbox: bool
    state: State
    phone: str
    amount: int
    period: BillingPeriod
    billing_time: time
    started_at: datetime
    max_retry_attempts: int
    retry_interval_hours: int
    grace_period_days: int
    missed: MissedPolicy
    standing: Standing
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    discount_percentage: Decimal | None = None
    items: list[InvoiceItem] = []
    metadata: dict[str, str] = {}
    external_order_id: str | None = None
    billing_day: int | None = None
    ends_at: datetime | None = None
    total_cycles: int | None = None
    bill_immediately: bool = False
    next_billing_at: datetime | None = None
    cancel_at_period_end: bool = False
    invoice_id: str | None = None
    test_clock_id: str | None = None
    clock_at: datetime | None = None
    billed_at: datetime | None = None
    payer: list[PayerAct] = []
    version: int = 0
    sequence: int = 0
    ended_at: datetime | None = None


class SubscriptionPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """One period that was decided about. `amount` is what its terms say, in tiyn."""

    subscription_id: str
    number: int
    due_at: datetime
    state: PeriodState
    revision: int
    amount: int
    updated_at: datetime
    reason: SkipReason | None = None


class SubscriptionNews(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The object of a subscription's event: what stands after the decision, what is told, and the bill's invoice."""

    subscription: Subscription
    told: Told
    invoice_id: str | None = None

    @property
    def id(self) -> str:
        """The subscription's."""
        return self.subscription.id

    @property
    def merchant_id(self) -> str:
        """The subscription's."""
        return self.subscription.merchant_id


class NewTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What bills say from now on. `amount` in tiyn; with `items` it is what they add up to."""

    amount: int
    description: str | None = None
    discount_percentage: Decimal | None = None
    items: list[InvoiceItem] = []


class OpenSubscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The command to record a subscription, begun and not yet decided about.

    `open_before` is a moment of the database's clock: nothing is recorded after it. `started_at` None is the present
    moment, of the test clock where there is one. `payer` goes with a test clock. `endpoint_id` is the one webhook
    endpoint that is told of it and its bills; without one all are.
    """

    subscription_id: str
    merchant_id: str
    is_sandbox: bool
    phone: str
    terms: NewTerms
    open_before: datetime
    fingerprint: str
    operation: str
    request_id: str
    plan: Plan = Plan()
    dunning: Dunning = Dunning()
    started_at: datetime | None = None
    bill_immediately: bool = False
    metadata: dict[str, str] = {}
    external_order_id: str | None = None
    test_clock_id: str | None = None
    payer: list[PayerAct] = []
    asked_by: str = ""
    idempotency_key: str | None = None
    endpoint_id: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asked for an action: the API key's id (empty: the Temporal UI), and the idempotency key with its request.

    The answer kept for the key is the subscription after the action, with status 200, in the decision's transaction.
    """

    asked_by: str = ""
    request_id: str = ""
    operation: str = ""
    idempotency_key: str | None = None
    fingerprint: str = ""


class SubscriptionRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which subscription."""

    merchant_id: str
    subscription_id: str
    is_sandbox: bool


class BillState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the books say of a bill."""

    invoice_id: str
    ref: ChargeRef
    state: invoice.State
    reason: invoice.Reason | None = None
    attention: Attention | None = None


class Loaded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands in the books; `bills` are those whose news the standing may have missed.

    `deliveries` are webhooks that nobody has attempted, oldest first: their decision's result was lost in a crash.
    `clock_at` is None for a subscription that lives in real time.
    """

    standing: Standing
    version: int
    clock_at: datetime | None = None
    billed_at: datetime | None = None
    bills: list[BillState] = []
    deliveries: list[DeliveryRef] = []


class BookDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decision about the subscription as it stood at `version`; it becomes `version + 1`.

    `token` names the decision: the same one asked for again gives the first result. `terms` are written as the
    standing's newest revision; with `keeps_cart` their cart is the one that stands. None in `metadata` and
    `external_order_id` keeps them, the empty text removes the order id. `at` is the moment it was decided at, by the
    subscription's own time.
    """

    subscription_id: str
    merchant_id: str
    version: int
    token: str
    action: str
    standing: Standing
    booked: list[PeriodChange] = []
    told: list[Told] = []
    terms: NewTerms | None = None
    keeps_cart: bool = False
    metadata: dict[str, str] | None = None
    external_order_id: str | None = None
    at: datetime | None = None
    asked: Asked | None = None


class BookedDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands after it. `standing` is set where the books had moved on (`repeated`: by this very decision).

    `key_taken`: another answer stands for the idempotency key, and nothing was written.
    """

    version: int
    standing: Standing | None = None
    repeated: bool = False
    key_taken: bool = False
    deliveries: list[DeliveryRef] = []


class Billing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one bill: what the books say of it, or the order that makes it where they know none.

    With neither nothing can be billed now: no bank is connected that takes bills to a phone.
    """

    known: BillState | None = None
    order: OpenInvoice | None = None


class ClockState(StrEnum):
    """`ADVANCING` until every subscription on it has reached the target."""

    READY = "ready"
    ADVANCING = "advancing"


class TestClock(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox merchant's own time. It stands still until it is advanced, and never goes back."""

    __test__ = False  # no test of pytest's

    id: str
    merchant_id: str
    name: str
    state: ClockState
    now_at: datetime
    created_at: datetime
    updated_at: datetime
    target_at: datetime | None = None


# What one test clock can carry: it is a developer's tool, and advancing it moves them all.
SUBSCRIPTIONS_PER_CLOCK = 20


def charge_invoice_id(salt: bytes, subscription_id: str, ref: ChargeRef) -> str:
    """The invoice of a bill, so that one that is made twice is one; `salt` is the merchant's."""
    return derived_id(INVOICE, salt, subscription_id, str(ref.number), str(ref.charge))


def open_charge(standing: Standing) -> ChargeRef | None:
    """The newest bill of the period that is being billed."""
    open_ = standing.open
    return open_.ref if open_ is not None and open_.charge else None


def next_billing(standing: Standing) -> datetime | None:
    """When the next bill is due, as things stand; None where none is."""
    if standing.state in CLOSED or standing.state is State.PAUSED:
        return None
    open_ = standing.open
    if open_ is not None and open_.phase is Phase.WAITING:
        return open_.at
    last = last_number(standing.calendar)
    if standing.cancel_at_period_end or (last is not None and standing.next > last):
        return None
    return due(standing.calendar, standing.next)


def period_due(before: Standing, after: Standing, number: int) -> datetime:
    """The due moment of a period that a decision opened or skipped.

    A decision may change the calendar: what it decided about before that was due by the old one. An open period may
    have outlived its calendar, and knows its moment itself.
    """
    for standing in (before, after):
        if standing.open is not None and standing.open.number == number:
            return standing.open.due_at
    try:
        return due(after.calendar, number)
    except ValueError:
        return due(before.calendar, number)


def terms_of(new: NewTerms, revision: int) -> Terms:
    """What the rules need of them."""
    return Terms(amount=new.amount, description=new.description, revision=revision)
