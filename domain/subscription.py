"""The subscription: its states, its periods, its dunning policy, and what can happen to it.

A subscription is no auto-debit: each period is a bill the payer confirms. What follows from a happening is decided
in `domain.subscription_rules`.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from domain.billing_calendar import Calendar, Plan


class State(StrEnum):
    """`EXPIRED` is given up after dunning, `COMPLETED` has no period left."""

    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    CANCELED = "canceled"
    EXPIRED = "expired"
    COMPLETED = "completed"


CLOSED = frozenset({State.CANCELED, State.EXPIRED, State.COMPLETED})

# What one decision may change. Late money may bring an expired subscription back, and nothing else does.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.ACTIVE: frozenset({State.PAST_DUE, State.PAUSED}) | CLOSED,
    State.PAST_DUE: frozenset({State.ACTIVE, State.PAUSED}) | CLOSED,
    State.PAUSED: frozenset({State.ACTIVE, State.PAST_DUE, State.CANCELED, State.COMPLETED}),
    State.EXPIRED: frozenset({State.ACTIVE, State.CANCELED, State.COMPLETED}),
    State.CANCELED: frozenset(),
    State.COMPLETED: frozenset(),
}


class PeriodState(StrEnum):
    """`BILLING` lasts from the first bill to the end of dunning."""

    UPCOMING = "upcoming"
    BILLING = "billing"
    PAID = "paid"
    FAILED = "failed"
    SKIPPED = "skipped"


# Late truth is allowed here too: the payer may pay a bill of a period that was given up.
PERIOD_TRANSITIONS: dict[PeriodState, frozenset[PeriodState]] = {
    PeriodState.UPCOMING: frozenset({PeriodState.BILLING, PeriodState.SKIPPED}),
    PeriodState.BILLING: frozenset({PeriodState.PAID, PeriodState.FAILED, PeriodState.SKIPPED}),
    PeriodState.FAILED: frozenset({PeriodState.PAID}),
    PeriodState.SKIPPED: frozenset({PeriodState.PAID}),
    PeriodState.PAID: frozenset(),
}


class SkipReason(StrEnum):
    """Why a period was not billed, or its bill was taken back."""

    OUTAGE = "outage"  # nothing could be billed until a newer period was due
    EARLIER_OPEN = "earlier_period_open"  # the payer still owed an earlier one
    PAUSED = "paused"
    EXPIRED = "expired"  # it fell due between the expiry and the payment that brought the subscription back
    MERCHANT = "merchant"
    CANCELED = "canceled"


class MissedPolicy(StrEnum):
    """What becomes of periods that could not be billed until a newer one was due; all of them are never billed.

    `newest` bills the newest and skips the others, `none` skips them all and waits for the next.
    """

    NEWEST = "newest"  # bill the newest, skip the others
    NONE = "none"  # skip them all and wait for the next


class Dunning(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How patiently. A period is billed at most `1 + max_retry_attempts` times by itself."""

    max_retry_attempts: int = 3
    retry_interval_hours: int = 24
    grace_period_days: int = 3
    missed: MissedPolicy = MissedPolicy.NEWEST

    @property
    def retry_interval(self) -> timedelta:
        """From a bill's failure to the next bill."""
        return timedelta(hours=self.retry_interval_hours)

    @property
    def grace(self) -> timedelta:
        """From the last failure to the expiry."""
        return timedelta(days=self.grace_period_days)


# Seconds after a provider's fault: 5 minutes doubling to 6 hours.
FIRST_FAULT_GAP = 300
LONGEST_FAULT_GAP = 6 * 3600


def fault_gap(faults: int) -> timedelta:
    """How long to wait after this many faults in a row (from 1)."""
    return timedelta(seconds=min(FIRST_FAULT_GAP * 2 ** min(faults - 1, 20), LONGEST_FAULT_GAP))


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a period's bill says. Amount in tiyn. `revision` names the terms in the books (cart, metadata)."""

    amount: int
    description: str | None = None
    revision: int = 1


class Phase(StrEnum):
    """Where an open period is. At most one bill is payable: in `LIVE` and `WITHDRAWING`."""

    WAITING = "waiting"  # for the moment of its next bill
    LIVE = "live"
    WITHDRAWING = "withdrawing"  # its bill is to be canceled, or paid before that
    GRACE = "grace"  # no bill; the payer has until `grace_until`


class ChargeRef(msgspec.Struct, frozen=True, kw_only=True):
    """One bill: the `charge`-th (from 1) of a period. It names the bill's invoice, so it can be asked for twice."""

    number: int
    charge: int


class OpenPeriod(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one period that is being billed.

    `charge` counts bills, `attempts` those the payer let expire or declined, `faults` those in a row that a provider's
    fault prevented. `closing` is why it ends once its bill has ended unpaid; `settled` is the bill that paid
    it while a later one was payable (0: none). `withdraw`: its bill is to be canceled.
    """

    number: int
    due_at: datetime
    terms: Terms
    phase: Phase = Phase.WAITING
    at: datetime | None = None
    grace_until: datetime | None = None
    charge: int = 0
    attempts: int = 0
    faults: int = 0
    unknown: bool = False
    closing: SkipReason | None = None
    withdraw: bool = False
    settled: int = 0

    @property
    def payable(self) -> bool:
        """Is a bill out?"""
        return self.phase in {Phase.LIVE, Phase.WITHDRAWING}

    @property
    def ref(self) -> ChargeRef:
        """The newest bill."""
        return ChargeRef(number=self.number, charge=self.charge)


# Late money comes within the late watch, a day at most; the lists only have to outlast that.
REMEMBERED = 16


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All a subscription's workflow knows, and the argument of its continue-as-new. Bounded in size.

    `next` is the first period nothing was decided about; `last_due` the due moment of the one before it, None before
    the first. `lapsed` is the period whose failure expired the subscription. `unpaid` are periods that ended without
    money though bills of theirs were out, `paid` the bills that brought money: of both those of the newest periods.
    """

    started_at: datetime
    calendar: Calendar
    terms: Terms
    dunning: Dunning = Dunning()
    state: State = State.ACTIVE
    next: int = 1
    last_due: datetime | None = None
    open: OpenPeriod | None = None
    cancel_at_period_end: bool = False
    lapsed: int | None = None
    unpaid: tuple[int, ...] = ()
    paid: tuple[ChargeRef, ...] = ()


# What can happen.


class Happening(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """One thing that happened; the subclasses are all there is."""


class TimeReached(Happening, frozen=True, kw_only=True):
    """The moment that was waited for has come, or the subscription has just begun or been taken up again."""


class ChargePaid(Happening, frozen=True, kw_only=True):
    """The payer paid a bill, however late."""

    ref: ChargeRef


class ChargeFailed(Happening, frozen=True, kw_only=True):
    """A bill ended unpaid by the payer's doing: not paid in time, or `declined`. Burns an attempt."""

    ref: ChargeRef
    declined: bool = False


class ChargeFaulted(Happening, frozen=True, kw_only=True):
    """Nothing was billed: the bank was away or the connection is misconfigured. Burns nothing."""

    ref: ChargeRef


class ChargeUnknown(Happening, frozen=True, kw_only=True):
    """Nobody knows yet whether the bill exists. It counts as payable until its outcome is known."""

    ref: ChargeRef


class ChargeIssued(Happening, frozen=True, kw_only=True):
    """The bill is out, where nobody knew it: an operator found it at the bank."""

    ref: ChargeRef


class ChargeCanceled(Happening, frozen=True, kw_only=True):
    """The merchant canceled the bill, by itself or because we asked for it."""

    ref: ChargeRef


class Pause(Happening, frozen=True, kw_only=True):
    """Bill nothing more until resumed. A bill that is out stays payable."""


class Resume(Happening, frozen=True, kw_only=True):
    """Go on with the next date; or, of an active one, take back a cancellation at the period's end."""


class Cancel(Happening, frozen=True, kw_only=True):
    """End it now, or when the next period would be due."""

    at_period_end: bool = False


class Change(Happening, frozen=True, kw_only=True):
    """Other terms, dates or patience; None keeps them.

    Terms hold from the next period, or with `at_once` for the next bill of an open period too; a bill that is out never
    changes. A plan always begins where the paid time ends; dunning holds at once.
    """

    terms: Terms | None = None
    plan: Plan | None = None
    dunning: Dunning | None = None
    at_once: bool = False


class BillNow(Happening, frozen=True, kw_only=True):
    """Bill the open period again at once, or the next one early, which then is not billed at its date."""


class SkipPeriod(Happening, frozen=True, kw_only=True):
    """Give up the open period (its bill is withdrawn), or leave out the next one."""


class Refusal(StrEnum):
    """Why an action can't be done now."""

    CLOSED = "subscription_closed"
    PAUSED = "subscription_paused"
    NOT_PAUSED = "subscription_not_paused"
    CHARGE_IN_FLIGHT = "charge_in_flight"
    BILLED_AHEAD = "already_billed_ahead"
    NOTHING_LEFT = "no_period_left"


class NotAllowed(ValueError):
    """An action that can't be done now."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.value)


# What follows.


class Tell(StrEnum):
    """The events of a subscription."""

    PAYMENT_SUCCEEDED = "subscription.payment_succeeded"
    PAYMENT_FAILED = "subscription.payment_failed"
    GRACE_PERIOD_STARTED = "subscription.grace_period_started"
    EXPIRED = "subscription.expired"
    PAUSED = "subscription.paused"
    RESUMED = "subscription.resumed"
    CANCELED = "subscription.canceled"
    COMPLETED = "subscription.completed"
    PERIOD_SKIPPED = "subscription.period_skipped"


class PaidHow(StrEnum):
    """Set where a payment came otherwise than it should."""

    LATE = "late"  # the bill had been closed, or the period given up
    TWICE = "twice"  # the period is paid already: the merchant owes a refund
    UNCLEAR = "unclear"  # too old to be remembered: the books know whether it is news, and nothing is booked here


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event. `number` … `last` are the periods it is about (`last` only for skipped ranges).

    `attempt` is how many failed; `until` the next bill, the grace's end, or the next due moment after a resume.
    """

    what: Tell
    number: int | None = None
    last: int | None = None
    charge: int | None = None
    attempt: int | None = None
    declined: bool = False
    reason: SkipReason | None = None
    paid: PaidHow | None = None
    until: datetime | None = None


class PeriodChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Periods `first` … `last` are in this state now. A long outage is one change, not thousands."""

    first: int
    last: int
    state: PeriodState
    reason: SkipReason | None = None


class Next(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """What to do next; the subclasses are all there is."""


class Bill(Next, frozen=True, kw_only=True):
    """Make this bill, and say what became of it."""

    ref: ChargeRef
    terms: Terms


class Withdraw(Next, frozen=True, kw_only=True):
    """Cancel this bill, and say what became of it: it may be paid first."""

    ref: ChargeRef


class Wait(Next, frozen=True, kw_only=True):
    """Until something happens, at the latest until this moment."""

    until: datetime | None = None


class Over(Next, frozen=True, kw_only=True):
    """Nothing more will happen by itself; only late money may still come."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The new standing, what to book and to tell (in order), and what to do next."""

    standing: Standing
    booked: list[PeriodChange]
    told: list[Told]
    next: Next
