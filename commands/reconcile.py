"""`tolem reconcile`."""

import asyncio
import io
from datetime import UTC, date, datetime
from typing import Any

import rich_click as click

from activities.reconciling import Reconcile
from api.v1 import days
from commands.console import console, table
from commands.operator_name import operator_name
from commands.shared import operator_database, run, workflow_engine
from db.errors import ReconciliationRuns
from db.reconciliation_reads import EveryReconciliation
from db.reconciliations import Reconciliations
from db.registry import Registry
from domain.ids import RECONCILIATION, new_id
from domain.money import format_amount
from domain.reconciliation import LineVerdict
from domain.reconciliation_run import Action, NewRun, Run, RunState, Source, Trigger, compared_period
from domain.statement import BadStatement, StatementRow, period_of, read_statement
from runtime import settings as conf

LOOK_AGAIN_SECONDS = 0.5
SHOWN_WRONG_LINES = 100


@click.group()
def reconcile() -> None:
    """Compare our books with the bank's. No money moves; see docs/reconciliation.md."""


@reconcile.command("run")
@click.argument("merchant_id")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day (Asia/Almaty).")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last day (Asia/Almaty).")
@click.option("--statement", type=click.File(encoding="utf-8"), help="A statement as CSV.")
@click.option("--wait", is_flag=True, help="Return when it is over; exit code 1 when it failed.")
def reconcile_run(
    merchant_id: str, first: datetime | None, last: datetime | None, statement: io.TextIOBase | None, *, wait: bool
) -> None:
    """Start a reconciliation of a merchant's link to the bank; prints its id."""
    run(_start(merchant_id, _day(first), _day(last), _rows(statement), wait=wait))


def _day(given: datetime | None) -> date | None:
    return None if given is None else given.date()


def _rows(statement: io.TextIOBase | None) -> list[StatementRow] | None:
    if statement is None:
        return None
    try:
        return read_statement(statement.read())
    except UnicodeDecodeError:
        raise click.ClickException("The statement is not UTF-8 text.") from None
    except BadStatement as bad:
        lines = [f"line {one.number}: {one.reason}" for one in bad.wrong[:SHOWN_WRONG_LINES]]
        lines += [f"… and {len(bad.wrong) - len(lines)} more"] if len(bad.wrong) > len(lines) else []
        raise click.ClickException("Nothing was imported.\n" + "\n".join(lines)) from bad


async def _start(
    merchant_id: str, first: date | None, last: date | None, rows: list[StatementRow] | None, *, wait: bool
) -> None:
    now = datetime.now(UTC)
    period = compared_period(
        now,
        conf.load(conf.Reconciliation)[conf.Reconciliation].days,
        given=(days.first_moment(first, "--from"), days.moment_after(last, "--to")),
        statement=period_of(rows) if rows else None,
    )
    if period is None:
        raise click.ClickException("The period must end after it begins, and last a year at most.")
    engine = await workflow_engine()
    async with operator_database() as database:
        found = await Registry(database).sealed_connection(merchant_id)
        if found is None:
            raise click.ClickException("This merchant has no link; see `tolem connections list`.")
        new = NewRun(
            id=new_id(RECONCILIATION),
            merchant_id=merchant_id,
            connection_id=found[0].id,
            trigger=Trigger.CLI,
            asked_by=operator_name(),
            period_from=period[0],
            period_to=period[1],
            created_at=now,
        )
        try:
            await Reconciliations(database).open(new, rows)
        except ReconciliationRuns as running:
            # It may have lost its workflow; starting it again is harmless.
            await engine.reconcile(Reconcile(merchant_id=merchant_id, reconciliation_id=running.run_id))
            raise click.ClickException(f"{running.run_id} of this link is not over yet.") from running
        await engine.reconcile(Reconcile(merchant_id=merchant_id, reconciliation_id=new.id))
        console.print(new.id)
        if wait:
            await _wait(EveryReconciliation(database), new.id)


async def _wait(reads: EveryReconciliation, run_id: str) -> None:
    while True:
        found = await reads.run(run_id)
        if found is not None and found.state is not RunState.RUNNING:
            break
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    _print_totals(found)
    if found.state is RunState.FAILED:
        raise click.ClickException(f"It failed: {found.reason}.")


@reconcile.command("list")
@click.option("--merchant", "merchant_id", help="Only this merchant's.")
def reconcile_list(merchant_id: str | None) -> None:
    """List reconciliations, newest first."""

    async def work() -> None:
        rows = table("id", "merchant", "by", "state", "matched", "differ", "attention", "since")
        async with operator_database() as database:
            for one in await EveryReconciliation(database).runs(merchant_id):
                matched, differ = _counts(one)
                needs = one.totals.actions.get(Action.ATTENTION, 0)
                since = f"{one.created_at:%Y-%m-%d %H:%M}"
                rows.add_row(
                    one.id, one.merchant_id, one.trigger, one.state, str(matched), str(differ), str(needs), since
                )
        console.print(rows)

    run(work())


def _counts(one: Run) -> tuple[int, int]:
    every = [*one.totals.bank.items(), *one.totals.statement.items()]
    matched = sum(tally.count for verdict, tally in every if verdict is LineVerdict.MATCHED)
    return matched, sum(tally.count for _, tally in every) - matched


@reconcile.command("show")
@click.argument("reconciliation_id")
@click.option("--verdict", type=click.Choice([verdict.value for verdict in LineVerdict]), help="Only these lines.")
def reconcile_show(reconciliation_id: str, verdict: str | None) -> None:
    """The totals of a reconciliation and every payment that did not match."""

    async def work() -> None:
        async with operator_database() as database:
            reads = EveryReconciliation(database)
            found = await reads.run(reconciliation_id)
            if found is None:
                raise click.ClickException("There is no such reconciliation.")
            lines = await reads.lines(reconciliation_id, LineVerdict(verdict) if verdict else None)
        _print_totals(found)
        rows = table("source", "verdict", "detail", "action", "invoice", "payment", "ours", "bank's")
        for line in lines:
            invoice = line.invoice_id or (f"perhaps {line.suggested_invoice_id}" if line.suggested_invoice_id else "")
            ours = _side(line.our_state, line.our_amount, line.our_refunded)
            theirs = _side(line.bank_word, line.bank_amount, line.bank_refunded)
            what = (line.source, line.verdict, line.detail or "", line.action, invoice)
            rows.add_row(*what, str(line.bank_payment_id), ours, theirs)
        if lines:
            console.print(rows)

    run(work())


def _side(word: str | None, amount: int | None, refunded: int | None) -> str:
    shown: list[Any] = [word, None if amount is None else format_amount(amount)]
    shown += [f"refunded {format_amount(refunded)}"] if refunded else []
    return " ".join(part for part in shown if part)


def _print_totals(found: Run) -> None:
    rows = table("", "source", "payments", "sum")
    for source, tallies in ((Source.BANK, found.totals.bank), (Source.STATEMENT, found.totals.statement)):
        for verdict in LineVerdict:
            if verdict in tallies:
                tally = tallies[verdict]
                rows.add_row(verdict, source, str(tally.count), format_amount(tally.amount))
    period = f"{found.period_from:%Y-%m-%d %H:%M} to {found.period_to:%Y-%m-%d %H:%M} UTC"
    console.print(f"{found.id}  {found.state}{f' ({found.reason})' if found.reason else ''}  {period}")
    console.print(rows)
