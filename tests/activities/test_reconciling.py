"""The reconciliation's walk over real books and the emulated bank; a mailbox stands where Temporal would be."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.reconciling import PlanReconciliations, Reconcile, ReconcileLimits, Reconciling, Walked
from db.reconciliation_books import ReconciliationBooks
from db.reconciliation_links import ReconciliationLinks
from db.reconciliation_reads import LineFilter, ReconciliationReads
from db.reconciliations import Reconciliations
from db.refunds import RefundLedger
from domain.bank import BankFact, next_step
from domain.ids import RECONCILIATION, new_id
from domain.invoice import Attention, Change, Kind, OpenInvoice, Reason, State
from domain.reconciliation import Detail, LineVerdict
from domain.reconciliation_run import Action, Line, NewRun, Run, RunState, Source, Trigger
from domain.statement import StatementRow, read_statement
from tests.activities.town import Town
from tests.db.books import Shop
from tests.support.discrepancies import HEADER, Planter, kinds, statement_of, wrong_conclusions

LIMITS = ReconcileLimits(
    calls_per_second=2000, pause=0.05, story_patience=3.0, bank_patience=0.0, away_pause=0.01, run_for=60
)
NO_LAG = timedelta(0)


class Stories:
    """Books what a story would book, at once; what it was asked for stands in `resumed`."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.told: list[str] = []
        self.resumed: list[str] = []
        self.deaf = False

    async def bank_said(self, invoice_id: str, fact: BankFact) -> bool:
        return False

    async def resume(self, order: OpenInvoice, fact: BankFact) -> None:
        self.told.append(order.invoice_id)
        if self.deaf:
            return
        change: dict[str, Any] = {"invoice_id": order.invoice_id, "merchant_id": order.merchant_id}
        if fact.amount not in {None, order.amount}:
            change |= {"cause": "amount_mismatch", "attention": Attention.AMOUNT_MISMATCH}
        else:
            step = next_step(fact.verdict, cancel_requested=False)
            assert step is not None
            change |= {"cause": step[0].value, "state": step[0], "reason": step[1]}
        await self._town.books.ledger.book(Change(**change))

    async def resume_invoice(self, order: OpenInvoice) -> None:
        self.resumed.append(order.invoice_id)


class Desk:
    """Opens and runs the reconciliations of one shop."""

    def __init__(self, town: Town, shop: Shop, **limits: Any) -> None:
        self.town, self.shop = town, shop
        self.records = Reconciliations(town.books.app)
        self.reads = ReconciliationReads(town.books.app)
        self.stories = Stories(town)
        self.limits = limits

    def activity(self) -> Reconciling:
        books = self.town.books
        return Reconciling(
            self.records,
            ReconciliationBooks(books.app, NO_LAG),
            self.town.banks,
            books.ledger,
            books.watches,
            self.stories,
            ReconciliationLinks(books.operator),
            ReconcileLimits(**{name: getattr(LIMITS, name) for name in LIMITS.__struct_fields__} | self.limits),
        )

    async def open(self, rows: list[StatementRow] | None = None, *, days_ago: int = 0) -> Run:
        now = datetime.now(UTC) - timedelta(days=days_ago)
        new = NewRun(
            id=new_id(RECONCILIATION),
            merchant_id=self.shop.id,
            connection_id=self.shop.connection_id,
            trigger=Trigger.CLI,
            asked_by="tests",
            period_from=now - timedelta(days=1),
            period_to=now + timedelta(minutes=1),
            created_at=now,
        )
        return await self.records.open(new, rows)

    async def walk(self, run: Run) -> Walked:
        order = Reconcile(merchant_id=run.merchant_id, reconciliation_id=run.id)
        return await ActivityEnvironment().run(self.activity().walk, order)

    async def reconcile(self, rows: list[StatementRow] | None = None) -> tuple[Run, list[Line]]:
        """A whole run, and its lines."""
        run = await self.open(rows)
        while not (await self.walk(run)).over:
            pass
        return await self.result(run)

    async def result(self, run: Run) -> tuple[Run, list[Line]]:
        ended = await self.records.run(run.merchant_id, run.id)
        assert ended is not None
        page = await self.reads.lines(run.merchant_id, run.id, LineFilter(limit=1000))
        return ended, page.items

    async def planter(self) -> Planter:
        books = self.town.books
        return Planter(
            merchant_id=self.shop.id,
            connection_id=self.shop.connection_id,
            ledger=books.ledger,
            refunds=RefundLedger(books.app, books.renderer),
            watches=books.watches,
            bank=await self.town.banks.of(self.shop.id, self.shop.connection_id),
            admin=self.town.admin,
        )


@pytest.fixture
async def desk(town: Town) -> Desk:
    return Desk(town, await town.merchant())


async def money(town: Town) -> dict[str, Any]:
    totals: dict[str, Any] = (await town.admin.ledger())["totals"]
    return totals


def only(lines: Sequence[Line]) -> Line:
    (line,) = lines
    return line


async def test_every_discrepancy_is_found_and_nothing_else(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(60, 16)
    before = await money(desk.town)
    run, lines = await desk.reconcile()
    assert run.state is RunState.COMPLETED
    assert wrong_conclusions(planted, lines) == []
    assert run.totals.bank[LineVerdict.MATCHED].count == 60, kinds(planted)
    assert run.totals.bank[LineVerdict.MATCHED].amount == sum(one.amount for one in planted if one.verdict is None)
    assert await money(desk.town) == before
    attention = {one.invoice_id for one in planted if one.action is Action.ATTENTION}
    assert set(desk.stories.resumed) == attention, "each case has a running story"


async def test_the_same_facts_are_told_once(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(6, 16)
    await desk.reconcile()
    events = {one.invoice_id: await desk.shop.events(one.invoice_id) for one in planted}
    _, lines = await desk.reconcile()
    assert {one.invoice_id: await desk.shop.events(one.invoice_id) for one in planted} == events
    # Late money is booked and what others refunded is in the books: both sides agree now.
    settled = {LineVerdict.PAID_AFTER_CLOSE, LineVerdict.REFUNDED_OUTSIDE}
    wrong = [one for one in planted if one.verdict is not None and one.verdict not in settled]
    assert {line.bank_payment_id for line in lines} == {one.payment_id for one in wrong}


async def test_what_an_operator_has_settled_is_not_asked_again(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(0, 8)
    await desk.reconcile()
    for one in planted:
        invoice = await desk.shop.invoice(one.invoice_id)
        if invoice.attention is Attention.AMOUNT_MISMATCH and invoice.paid_at is None:
            await desk.shop.book(one.invoice_id, "accepted_paid", State.PAID)
        await desk.shop.book(one.invoice_id, "acknowledged", clear_attention=True)
    _, lines = await desk.reconcile()
    assert {line.action for line in lines} == {Action.NONE}, "reported, and nobody is called again"
    assert len(lines) == 6, "late money and the cashier's refund are in the books by now"
    assert all([(await desk.shop.invoice(one.invoice_id)).attention is None for one in planted])


async def test_refunds_of_others_are_raised_to_the_banks_truth(desk: Desk) -> None:
    planter = await desk.planter()
    one = await planter.paid(Kind.QR, 100_000)
    for gone, total in (("100.00", 10_000), ("250.00", 35_000)):
        await desk.town.admin.call("POST", f"purchases/{one.payment_id}/refund", {"amount": gone})
        _, lines = await desk.reconcile()
        assert only(lines).verdict is LineVerdict.REFUNDED_OUTSIDE
        invoice = await desk.shop.invoice(one.invoice_id)
        assert (invoice.refunded_outside, invoice.attention) == (total, Attention.REFUNDED_OUTSIDE)
        assert invoice.state is State.PAID


async def test_another_case_of_the_invoice_is_not_covered_up(desk: Desk) -> None:
    planter = await desk.planter()
    one = await planter.paid(Kind.QR, 100_000)
    await desk.shop.book(one.invoice_id, "somebody_looks", attention=Attention.PAID_LATE)
    await desk.town.admin.call("POST", f"purchases/{one.payment_id}/refund", {"amount": "100.00"})
    _, lines = await desk.reconcile()
    assert (only(lines).verdict, only(lines).action) == (LineVerdict.REFUNDED_OUTSIDE, Action.NONE)
    invoice = await desk.shop.invoice(one.invoice_id)
    assert (invoice.attention, invoice.refunded_outside) == (Attention.PAID_LATE, 0)
    await desk.shop.book(one.invoice_id, "looked", clear_attention=True)
    _, lines = await desk.reconcile()
    assert only(lines).action is Action.ATTENTION, "the next run tells it"


async def test_a_refund_in_flight_is_not_judged(desk: Desk) -> None:
    planter = await desk.planter()
    one = await planter.paid(Kind.QR, 90_000)
    await planter.refunded_here(one, 30_000)
    desk_with_lag = ReconciliationBooks(desk.town.books.app, timedelta(minutes=15))
    activity = desk.activity()
    activity._books = desk_with_lag
    run = await desk.open()
    order = Reconcile(merchant_id=run.merchant_id, reconciliation_id=run.id)
    assert (await ActivityEnvironment().run(activity.walk, order)).over
    ended, lines = await desk.result(run)
    assert lines == []
    assert ended.totals.refunds_unjudged == 1


async def test_a_bank_ahead_of_us_is_no_discrepancy(desk: Desk) -> None:
    planter = await desk.planter()
    paid = await planter.issued(Kind.PHONE, 50_000)
    rejected = await planter.issued(Kind.PHONE, 50_000)
    await desk.town.admin.act(paid.payment_id, "pay")
    await desk.town.admin.act(rejected.payment_id, "reject")
    run, lines = await desk.reconcile()
    assert lines == []
    assert run.totals.bank[LineVerdict.MATCHED].count == 2
    assert (await desk.shop.invoice(paid.invoice_id)).state is State.PAID
    assert (await desk.shop.invoice(rejected.invoice_id)).state is State.CANCELED


async def test_a_story_that_does_not_book_money_calls_a_human(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(0, 1)
    desk.stories.deaf = True
    desk.limits["story_patience"] = 0.3
    _, lines = await desk.reconcile()
    assert (only(lines).verdict, only(lines).action) == (LineVerdict.PAID_AFTER_CLOSE, Action.ATTENTION)
    assert (await desk.shop.invoice(planted[0].invoice_id)).attention is Attention.STATUS_DIFFERS


async def test_a_bank_that_is_away_fails_the_run_visibly(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(3, 8)
    await desk.town.admin.fault("payment/details", "error_5xx_before", times=None)
    desk.limits["bank_patience"] = 3600.0
    run = await desk.open()
    walked = await desk.walk(run)
    assert (walked.over, walked.wait) == (False, LIMITS.away_pause)
    desk.limits["bank_patience"] = 0.0
    assert (await desk.walk(run)).over
    ended, lines = await desk.result(run)
    assert (ended.state, ended.reason) == (RunState.FAILED, "kaspi_unavailable")
    assert (lines, desk.stories.told) == ([], []), "no verdict on half an answer"
    assert all([(await desk.shop.invoice(one.invoice_id)).attention is None for one in planted])


async def test_a_hiccup_is_read_again(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(4, 8)
    await desk.town.admin.fault("payment/status", "drop_before", times=5)
    run, lines = await desk.reconcile()
    assert run.state is RunState.COMPLETED
    assert wrong_conclusions(planted, lines) == []


@pytest.mark.parametrize("after", range(1, 9))
async def test_a_crash_at_any_write_loses_and_doubles_nothing(desk: Desk, after: int) -> None:
    planter = await desk.planter()
    planted = await planter.plant(3, 8)
    run = await desk.open()
    crash = Crashing(desk, after)
    activity = crash.activity()
    order = Reconcile(merchant_id=run.merchant_id, reconciliation_id=run.id)
    with pytest.raises(Died):
        await ActivityEnvironment().run(activity.walk, order)
    assert (await desk.walk(run)).over
    ended, lines = await desk.result(run)
    assert wrong_conclusions(planted, lines) == []
    assert sum(tally.count for tally in ended.totals.bank.values()) == 11
    for one in planted:
        told = [event for event in await desk.shop.events(one.invoice_id) if event["type"] != "invoice.refunded"]
        assert len(told) == (0 if one.verdict is None else 1), one


class Died(BaseException):
    """The process is gone."""


class Crashing:
    """A worker that dies at the n-th thing it does beside reading: after it was done, before anybody heard."""

    def __init__(self, desk: Desk, after: int) -> None:
        self._desk, self._left = desk, after

    def activity(self) -> Reconciling:
        made = self._desk.activity()
        for name, methods in (
            ("_records", ("note", "commit", "finish")),
            ("_ledger", ("book",)),
            ("_stories", ("resume", "resume_invoice")),
        ):
            setattr(made, name, _Mortal(getattr(made, name), methods, self._dies))
        return made

    def _dies(self) -> bool:
        self._left -= 1
        return self._left == 0


class _Mortal:
    def __init__(self, real: Any, methods: Sequence[str], dies: Any) -> None:
        self._real, self._methods, self._dies = real, methods, dies

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if name not in self._methods:
            return method

        async def mortal(*args: Any, **more: Any) -> Any:
            done = await method(*args, **more)
            if self._dies():
                raise Died
            return done

        return mortal


async def test_two_at_once_write_each_batch_once(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(20, 8)
    run = await desk.open()
    # A worker that was thought dead goes on beside its successor; where both book the same step, one fails and retries.
    await asyncio.gather(desk.walk(run), desk.walk(run), return_exceptions=True)
    while not (await desk.walk(run)).over:
        pass
    ended, lines = await desk.result(run)
    assert wrong_conclusions(planted, lines) == []
    assert sum(tally.count for tally in ended.totals.bank.values()) == 28


async def test_a_statement_is_compared_row_by_row(desk: Desk) -> None:
    planter = await desk.planter()
    clean = [await planter.paid(Kind.QR, 40_000 + place) for place in range(3)]
    lacking = await planter.paid(Kind.LINK, 70_000)
    other = await planter.paid(Kind.QR, 80_000)
    last = await planter.paid(Kind.QR, 90_000)
    unclear = await desk.shop.opened(Kind.PHONE)
    await desk.shop.book(unclear.invoice_id, "outcome_unknown", attention=Attention.OUTCOME_UNKNOWN)
    reference = f"T-{unclear.invoice_id[4:14]}"
    payments = [one.payment_id for one in (*clean, other, last)]
    rows = await statement_of(desk.town.admin, payments)
    rows = [row.replace(",800.00,", ",801.00,") for row in rows]
    rows += [
        f"{datetime.now(UTC).isoformat()},payment,555000111,123.45,nobody's",
        f"{datetime.now(UTC).isoformat()},payment,555000112,10000.00,Торт · {reference}",
        f"{datetime.now(UTC).isoformat()},refund,{clean[0].payment_id},15.00,",
    ]
    run, lines = await desk.reconcile(read_statement("\n".join([HEADER, *rows])))
    assert run.state is RunState.COMPLETED
    found = {line.bank_payment_id: line for line in lines}
    assert {id_: (line.source, line.verdict, line.detail) for id_, line in found.items()} == {
        clean[0].payment_id: (Source.STATEMENT, LineVerdict.REFUNDED_OUTSIDE, Detail.REFUNDED_ELSEWHERE),
        lacking.payment_id: (Source.STATEMENT, LineVerdict.MISSING_AT_BANK, Detail.NOT_IN_STATEMENT),
        other.payment_id: (Source.STATEMENT, LineVerdict.AMOUNT_DIFFERS, Detail.OTHER_AMOUNT),
        555000111: (Source.STATEMENT, LineVerdict.MISSING_HERE, Detail.NO_INVOICE),
        555000112: (Source.STATEMENT, LineVerdict.MISSING_HERE, Detail.REFERENCE_FITS),
    }
    assert found[555000112].suggested_invoice_id == unclear.invoice_id
    assert run.totals.statement[LineVerdict.MATCHED].count == 3
    assert run.totals.bank[LineVerdict.MATCHED].count == 6
    assert (await desk.shop.invoice(clean[0].invoice_id)).refunded_outside == 1_500


async def test_late_money_that_only_the_statement_knows_is_asked_of_the_bank_and_booked(desk: Desk) -> None:
    planter = await desk.planter()
    (late,) = await planter.plant(0, 1)
    never = await planter.issued(Kind.PHONE, 33_300)
    await desk.town.admin.act(never.payment_id, "expire")
    await desk.shop.book(never.invoice_id, "expired", State.EXPIRED, reason=Reason.EXPIRED, announce=False)
    rows = await statement_of(desk.town.admin, [late.payment_id])
    rows.append(f"{datetime.now(UTC).isoformat()},payment,{never.payment_id},333.00,")
    run = await desk.open(read_statement("\n".join([HEADER, *rows])), days_ago=9)
    assert (await desk.walk(run)).over
    ended, lines = await desk.result(run)
    assert ended.totals.bank == {}, "neither is in the period"
    found = {line.bank_payment_id: line for line in lines}
    assert (found[late.payment_id].verdict, found[late.payment_id].action) == (
        LineVerdict.PAID_AFTER_CLOSE,
        Action.BOOKED,
    )
    assert (await desk.shop.invoice(late.invoice_id)).state is State.PAID
    only_there = found[never.payment_id]
    assert (only_there.verdict, only_there.detail) == (LineVerdict.STATUS_DIFFERS, Detail.PAID_IN_STATEMENT)
    assert only_there.action is Action.ATTENTION


async def test_the_night_opens_one_run_per_connection_once(desk: Desk) -> None:
    activity, cause = desk.activity(), f"night-{desk.shop.id}"
    ask = PlanReconciliations(cause=cause)
    planned, after = [], ""
    for _ in range(2):
        while True:
            found = await ActivityEnvironment().run(activity.plan, PlanReconciliations(cause=ask.cause, after=after))
            planned += [run for run in found.runs if run.merchant_id == desk.shop.id]
            if found.last is None:
                break
            after = found.last
        after = ""
    assert len(planned) == 2
    assert planned[0] == planned[1], "a repeat names the same run"
