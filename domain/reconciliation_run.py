"""A reconciliation as it is kept: the run, its place, its totals, its lines."""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from domain.invoice import State
from domain.reconciliation import Detail, LineVerdict

LONGEST_PERIOD = timedelta(days=366)


class Trigger(StrEnum):
    """Who started it."""

    SCHEDULE = "schedule"
    API = "api"
    CLI = "cli"


class RunState(StrEnum):
    """`FAILED` has no verdict on what it did not reach; what it did reach stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class Source(StrEnum):
    """What our books were compared with."""

    BANK = "bank"
    STATEMENT = "statement"


class Action(StrEnum):
    """`BOOKED` by the invoice's own story; `ATTENTION` stands at the invoice; `NONE` also where a person has already
    settled this very fact, or another case of the invoice waits for one.
    """

    NONE = "none"
    BOOKED = "booked"
    ATTENTION = "attention"


class Phase(StrEnum):
    """A run's parts, in order; the last two only with a statement."""

    PAYMENTS = "payments"
    STATEMENT = "statement"
    ABSENT = "absent"


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the walk is: after the invoice (`created_at`, `id`), or after the statement's `payment`."""

    phase: Phase = Phase.PAYMENTS
    created_at: datetime | None = None
    id: str = ""
    payment: int = 0


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many, and their sum in tiyn (ours, or the bank's where we have none)."""

    count: int = 0
    amount: int = 0


class Totals(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts of a run. `refunds_unjudged`: matched, but the sums were not compared (a refund in flight, or a scheme
    or payment whose sums the bank does not tell).
    """

    bank: dict[LineVerdict, Tally] = {}
    statement: dict[LineVerdict, Tally] = {}
    actions: dict[Action, int] = {}
    refunds_unjudged: int = 0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One payment's verdict. Amounts in tiyn; `suggested_invoice_id` is the invoice whose reference a row carries."""

    source: Source
    verdict: LineVerdict
    bank_payment_id: int
    action: Action = Action.NONE
    detail: Detail | None = None
    invoice_id: str | None = None
    suggested_invoice_id: str | None = None
    our_state: State | None = None
    our_amount: int | None = None
    our_refunded: int | None = None
    bank_word: str | None = None
    bank_amount: int | None = None
    bank_refunded: int | None = None
    number: int = 0

    @property
    def amount(self) -> int:
        """What the line adds to its verdict's sum."""
        return self.our_amount if self.our_amount is not None else self.bank_amount or 0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One reconciliation of one bank connection. `statement_rows` None means without a statement."""

    id: str
    merchant_id: str
    connection_id: str
    trigger: Trigger
    asked_by: str
    period_from: datetime
    period_to: datetime
    state: RunState
    created_at: datetime
    statement_rows: int | None = None
    reason: str | None = None
    place: Place = Place()
    totals: Totals = Totals()
    troubled_at: datetime | None = None
    finished_at: datetime | None = None


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """A reconciliation to open; `asked_by` is the key's id, the operator's name or the workflow's id."""

    id: str
    merchant_id: str
    connection_id: str
    trigger: Trigger
    asked_by: str
    period_from: datetime
    period_to: datetime
    created_at: datetime
    request_id: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch adds to a run."""

    source: Source
    lines: list[Line] = []
    matched: Tally = Tally()
    refunds_unjudged: int = 0


def added(totals: Totals, batch: Batch) -> Totals:
    """The totals with a batch."""
    tallies = dict(totals.bank if batch.source is Source.BANK else totals.statement)
    actions = dict(totals.actions)
    found = [(LineVerdict.MATCHED, batch.matched)] if batch.matched.count else []
    found += [(line.verdict, Tally(count=1, amount=line.amount)) for line in batch.lines]
    for verdict, tally in found:
        before = tallies.get(verdict, Tally())
        tallies[verdict] = Tally(count=before.count + tally.count, amount=before.amount + tally.amount)
    for line in batch.lines:
        actions[line.action] = actions.get(line.action, 0) + 1
    return Totals(
        bank=tallies if batch.source is Source.BANK else totals.bank,
        statement=tallies if batch.source is Source.STATEMENT else totals.statement,
        actions=actions,
        refunds_unjudged=totals.refunds_unjudged + batch.refunds_unjudged,
    )


def compared_period(
    now: datetime,
    days: int,
    *,
    given: tuple[datetime | None, datetime | None],
    statement: tuple[datetime, datetime] | None,
) -> tuple[datetime, datetime] | None:
    """From (inclusive) and to (exclusive): what was given, else a statement's own time, else the last `days`.

    None for a period that is empty or longer than a year.
    """
    first, end = given
    if statement is not None and given == (None, None):
        first, end = statement[0], statement[1] + timedelta(seconds=1)
    end = end if end is not None else now
    first = first if first is not None else end - timedelta(days=days)
    return (first, end) if timedelta(0) < end - first <= LONGEST_PERIOD else None
