"""Reconciliations in the v1 contract: the run with its totals, and its lines."""

from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.times import show, show_optional
from contracts.v1_json import Amount, Moment
from domain.invoice import State
from domain.money import CURRENCY, format_amount
from domain.reconciliation import Detail, LineVerdict
from domain.reconciliation_run import Action, Line, Run, RunState, Source, Tally, Trigger


class TallyJson(msgspec.Struct, frozen=True, kw_only=True):
    """How many payments, and the sum of them."""

    count: int
    amount: Amount


class ReconciliationTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Every verdict, also those that nobody got. `statement` is null without one. `refunds_unjudged`: matched payments
    whose refunds were not compared (a refund is in flight, or the bank tells no sums).
    """

    bank: dict[LineVerdict, TallyJson]
    statement: dict[LineVerdict, TallyJson] | None
    actions: dict[Action, int]
    refunds_unjudged: int


class ReconciliationJson(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison of our books with the bank's. While it runs, its totals grow."""

    id: Annotated[str, Meta(examples=["rec_q3mjn2v7o5y3c6d2xk4wz7h5ua"])]
    connection_id: str
    status: RunState
    reason: Annotated[str | None, Meta(description="Why it failed: kaspi_unavailable or kaspi_misconfigured.")]
    trigger: Trigger
    period_from: Moment
    period_to: Moment
    statement_rows: int | None
    currency: Annotated[str, Meta(examples=[CURRENCY])]
    totals: ReconciliationTotals
    created_at: Moment
    finished_at: Moment | None


class ReconciliationLineJson(msgspec.Struct, frozen=True, kw_only=True):
    """One payment that did not match. `ours` and `theirs` are null where a side has no such payment."""

    number: int
    source: Source
    verdict: LineVerdict
    detail: Detail | None
    action: Action
    kaspi_invoice_id: str
    invoice_id: str | None
    suggested_invoice_id: Annotated[
        str | None, Meta(description="An invoice with an unknown outcome whose reference the statement's row carries.")
    ]
    our_state: State | None
    our_amount: Amount | None
    our_refunded: Amount | None
    bank_status: str | None
    bank_amount: Amount | None
    bank_refunded: Amount | None


def reconciliation(run: Run) -> ReconciliationJson:
    """The JSON of a run."""
    totals = run.totals
    return ReconciliationJson(
        id=run.id,
        connection_id=run.connection_id,
        status=run.state,
        reason=run.reason,
        trigger=run.trigger,
        period_from=show(run.period_from),
        period_to=show(run.period_to),
        statement_rows=run.statement_rows,
        currency=CURRENCY,
        totals=ReconciliationTotals(
            bank=_tallies(totals.bank),
            statement=None if run.statement_rows is None else _tallies(totals.statement),
            actions={action: totals.actions.get(action, 0) for action in Action},
            refunds_unjudged=totals.refunds_unjudged,
        ),
        created_at=show(run.created_at),
        finished_at=show_optional(run.finished_at),
    )


def _tallies(found: dict[LineVerdict, Tally]) -> dict[LineVerdict, TallyJson]:
    tallies = {verdict: found.get(verdict, Tally()) for verdict in LineVerdict}
    return {
        verdict: TallyJson(count=tally.count, amount=format_amount(tally.amount)) for verdict, tally in tallies.items()
    }


def line(found: Line) -> ReconciliationLineJson:
    """The JSON of a line."""
    return ReconciliationLineJson(
        number=found.number,
        source=found.source,
        verdict=found.verdict,
        detail=found.detail,
        action=found.action,
        kaspi_invoice_id=str(found.bank_payment_id),
        invoice_id=found.invoice_id,
        suggested_invoice_id=found.suggested_invoice_id,
        our_state=found.our_state,
        our_amount=_amount(found.our_amount),
        our_refunded=_amount(found.our_refunded),
        bank_status=found.bank_word,
        bank_amount=_amount(found.bank_amount),
        bank_refunded=_amount(found.bank_refunded),
    )


def _amount(tiyn: int | None) -> str | None:
    return None if tiyn is None else format_amount(tiyn)
