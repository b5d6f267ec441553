"""Reconciliations as records: opened once, walked once, read by their merchant only."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from db.errors import Overtaken, ReconciliationRuns
from db.kept_answers import KeyedAnswer
from db.reconciliation_books import ReconciliationBooks
from db.reconciliation_reads import EveryReconciliation, LineFilter, ReconciliationReads
from db.reconciliations import Reconciliations
from domain.ids import RECONCILIATION, new_id
from domain.invoice import Attention, Kind, Reason, State
from domain.merchant import Mode
from domain.reconciliation import LineVerdict
from domain.reconciliation_run import (
    Action,
    Batch,
    Line,
    NewRun,
    Phase,
    Place,
    Run,
    RunState,
    Source,
    Tally,
    Trigger,
)
from domain.refund import RefundState
from domain.statement import Operation, StatementRow
from tests.db.books import Books, Shop, at_once, role

DAY = timedelta(days=1)


def new(shop: Shop, **changes: Any) -> NewRun:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": new_id(RECONCILIATION),
        "merchant_id": shop.id,
        "connection_id": shop.connection_id,
        "trigger": Trigger.API,
        "asked_by": "key_1",
        "period_from": now - 3 * DAY,
        "period_to": now + DAY,
        "created_at": now,
    }
    return NewRun(**(fields | changes))


def line(payment: int, verdict: LineVerdict = LineVerdict.STATUS_DIFFERS, **fields: Any) -> Line:
    return Line(source=Source.BANK, verdict=verdict, bank_payment_id=payment, our_amount=100, **fields)


def row(number: int, payment: int, amount: int = 100, operation: Operation = Operation.PAYMENT) -> StatementRow:
    return StatementRow(
        number=number,
        happened_at=datetime.now(UTC),
        operation=operation,
        bank_payment_id=payment,
        amount=amount,
        reference=f"T-{number:010}",
    )


@pytest.fixture
def records(books: Books) -> Reconciliations:
    return Reconciliations(books.app)


@pytest.fixture
def compared(books: Books) -> ReconciliationBooks:
    return ReconciliationBooks(books.app, timedelta(minutes=15))


async def stands(records: Reconciliations, run: Run) -> Run:
    found = await records.run(run.merchant_id, run.id)
    assert found is not None
    return found


async def test_one_runs_at_a_time_per_connection(records: Reconciliations, shop: Shop) -> None:
    opened = await at_once(8, lambda _: _open(records, shop))
    runs = [one for one in opened if isinstance(one, Run)]
    assert len(runs) == 1
    assert {one.run_id for one in opened if isinstance(one, ReconciliationRuns)} == {runs[0].id}
    await records.finish(runs[0], RunState.COMPLETED)
    assert isinstance(await _open(records, shop), Run)


async def _open(records: Reconciliations, shop: Shop) -> Run | ReconciliationRuns:
    try:
        return await records.open(new(shop), None)
    except ReconciliationRuns as running:
        return running


async def test_the_same_id_opens_once_with_its_statement_and_kept_answer(
    records: Reconciliations, books: Books, shop: Shop
) -> None:
    asked = new(shop)
    keyed = KeyedAnswer(mode=Mode.LIVE, operation="reconciliations", key="k1", fingerprint="f1", status=201, body=b"{}")
    for _ in range(2):
        run = await records.open(asked, [row(2, 5), row(3, 6)], keyed)
        assert (run.id, run.statement_rows, run.state) == (asked.id, 2, RunState.RUNNING)
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, "reconciliations", "k1")
    assert kept is not None
    assert (kept.resource_id, kept.status, kept.body) == (asked.id, 201, b"{}")
    audited = await books.fetch("select action, actor_id from audit_log where object_id = :id", id=asked.id)
    assert audited == [{"action": "reconciliation.created", "actor_id": "key_1"}]


async def test_an_operator_may_open_one_and_change_none(books: Books, shop: Shop) -> None:
    run = await Reconciliations(books.operator).open(new(shop, trigger=Trigger.CLI, asked_by="aigul"), [row(2, 5)])
    found = await EveryReconciliation(books.operator).run(run.id)
    assert found == run
    async with role(books.database, "tolem_operator") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("update reconciliations set state = 'completed'")


async def test_a_batch_is_written_once(records: Reconciliations, books: Books, shop: Shop) -> None:
    run = await records.open(new(shop), None)
    batch = Batch(source=Source.BANK, lines=[line(1), line(2)], matched=Tally(count=98, amount=9_800))
    place = Place(created_at=datetime.now(UTC), id="inv_x")

    async def write(_: int) -> bool:
        try:
            await records.commit(run, batch, place)
        except Overtaken:
            return False
        return True

    assert sorted(await at_once(6, write)) == [False] * 5 + [True]
    found = await stands(records, run)
    assert (found.place, found.totals.bank[LineVerdict.MATCHED].count) == (place, 98)
    lines = (await ReconciliationReads(books.app).lines(shop.id, run.id, LineFilter())).items
    assert [one.number for one in lines] == [1, 2]


async def test_a_note_becomes_its_batch_s_line(records: Reconciliations, books: Books, shop: Shop) -> None:
    run = await records.open(new(shop), None)
    await records.note(run, [line(2)])
    await records.note(run, [line(2)])
    noted = await records.noted(run, Source.BANK, [1, 2])
    assert list(noted) == [2]
    assert await records.noted(run, Source.STATEMENT, [1, 2]) == {}
    batch = Batch(source=Source.BANK, lines=[line(1), line(2, action=Action.ATTENTION)])
    await records.commit(run, batch, Place(phase=Phase.ABSENT))
    lines = (await ReconciliationReads(books.app).lines(shop.id, run.id, LineFilter())).items
    assert [(one.bank_payment_id, one.action) for one in lines] == [(2, Action.ATTENTION), (1, Action.NONE)]
    assert (await stands(records, run)).totals.actions == {Action.NONE: 1, Action.ATTENTION: 1}


async def test_a_note_of_a_written_batch_is_refused(records: Reconciliations, books: Books, shop: Shop) -> None:
    run, after = await records.open(new(shop), None), Place(id="x")
    await records.commit(run, Batch(source=Source.BANK, lines=[line(1, action=Action.BOOKED)]), after)
    with pytest.raises(Overtaken):
        await records.note(run, [line(1), line(2)])
    await records.note(await stands(records, run), [line(3)])
    lines = (await ReconciliationReads(books.app).lines(shop.id, run.id, LineFilter())).items
    assert [(one.bank_payment_id, one.action) for one in lines] == [(1, Action.BOOKED), (3, Action.NONE)]


async def test_what_is_over_never_changes(records: Reconciliations, books: Books, shop: Shop) -> None:
    run = await records.open(new(shop), None)
    assert await records.troubled(run) >= 0
    await records.finish(run, RunState.FAILED, "kaspi_unavailable")
    await records.finish(run, RunState.COMPLETED)
    with pytest.raises(Overtaken):
        await records.note(run, [line(1)])
    with pytest.raises(Overtaken):
        await records.commit(run, Batch(source=Source.BANK), Place(id="x"))
    assert await records.troubled(run) == 0
    ended = await stands(records, run)
    assert (ended.state, ended.reason, ended.place) == (RunState.FAILED, "kaspi_unavailable", Place())
    assert (await ReconciliationReads(books.app).lines(shop.id, run.id, LineFilter())).items == []
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(asyncpg.CheckViolationError, match="never changes"):
            await connection.execute("update reconciliations set reason = 'x' where id = $1", run.id)


async def test_trouble_counts_from_its_beginning_until_a_batch_is_done(records: Reconciliations, shop: Shop) -> None:
    run = await records.open(new(shop), None)
    first, second = await records.troubled(run), await records.troubled(run)
    assert 0 <= first <= second
    assert (await stands(records, run)).troubled_at is not None
    await records.commit(run, Batch(source=Source.BANK), Place(id="x"))
    assert (await stands(records, run)).troubled_at is None


async def test_what_a_period_compares(
    records: Reconciliations, compared: ReconciliationBooks, books: Books, shop: Shop
) -> None:
    paid, waiting = await shop.paid(), await shop.pending(Kind.QR)
    closed = await shop.pending(Kind.QR)
    await shop.book(closed.id, "expired", State.EXPIRED, reason=Reason.EXPIRED)
    await shop.opened()  # never issued: the bank gave no id
    await shop.opened(sandbox=True)
    other_link = await shop.pending(Kind.QR, connection_id=await books.connection(shop.id))
    now = await records.open(new(shop), None)
    every = [one.invoice_id for one in await compared.payments(now, Place(), limit=10)]
    assert every == [paid.id, waiting.id, closed.id]
    assert other_link.id not in every
    walked, place = [], Place()
    while batch := await compared.payments(now, place, limit=1):
        walked += [one.invoice_id for one in batch]
        place = Place(created_at=batch[-1].created_at, id=batch[-1].invoice_id)
    assert walked == every
    await records.finish(now, RunState.COMPLETED)
    moment = datetime.now(UTC)
    past = await records.open(new(shop, period_from=moment - 9 * DAY, period_to=moment - 8 * DAY), None)
    assert [one.invoice_id for one in await compared.payments(past, Place(), limit=10)] == [waiting.id], "still open"
    await shop.book(closed.id, "look", attention=Attention.STATUS_DIFFERS)
    assert len(await compared.payments(past, Place(), limit=10)) == 2, "what waits for somebody is always compared"


async def test_a_refund_is_settling_until_the_lag_is_over(books: Books, shop: Shop) -> None:
    invoice = await shop.paid()
    assert invoice.bank_payment_id is not None
    payment = invoice.bank_payment_id

    async def settling(lag: timedelta) -> bool:
        return (await ReconciliationBooks(books.app, lag).fresh(shop.id, [payment]))[payment].refunds_settling

    assert not await settling(DAY)
    refund = await shop.refund(invoice, 100, to=RefundState.PROCESSING)
    assert await settling(timedelta(0))
    await shop.book_refund(refund.id, RefundState.COMPLETED, RefundState.COMPLETED)
    assert await settling(DAY)
    assert not await settling(timedelta(0))
    assert (await ReconciliationBooks(books.app, DAY).fresh(shop.id, [payment]))[payment].refunded == 100


async def test_a_statement_is_summed_up_per_payment(
    records: Reconciliations, compared: ReconciliationBooks, shop: Shop
) -> None:
    rows = [row(2, 9, 500), row(3, 9, 100, Operation.REFUND), row(4, 9, 50, Operation.REFUND)]
    rows.append(row(5, 10, 70, Operation.REFUND))
    run = await records.open(new(shop), rows)
    first = await compared.statement(run, Place(phase=Phase.STATEMENT), limit=1)
    assert [(one.bank_payment_id, one.paid, one.refunded) for one in first] == [(9, 500, 150)]
    rest = await compared.statement(run, Place(phase=Phase.STATEMENT, payment=9), limit=9)
    assert [(one.bank_payment_id, one.paid, one.refunded) for one in rest] == [(10, None, 70)]


async def test_other_merchants_see_nothing(records: Reconciliations, books: Books, shop: Shop) -> None:
    run = await records.open(new(shop), [row(2, 5)])
    await records.note(run, [line(1)])
    stranger, reads = await books.merchant(), ReconciliationReads(books.app)
    assert await reads.run(stranger.id, run.id) is None
    assert (await reads.runs(stranger.id, after=None, limit=5)).items == []
    assert (await reads.lines(stranger.id, run.id, LineFilter())).items == []
    assert (
        await ReconciliationBooks(books.app, DAY).statement(
            Run(**{name: getattr(run, name) for name in Run.__struct_fields__} | {"merchant_id": stranger.id}),
            Place(),
            limit=5,
        )
        == []
    )
