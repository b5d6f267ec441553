"""Opens and runs reconciliations over real books and the emulated bank; what a story would book is booked at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.reconciling import Reconcile, ReconcileLimits, Reconciling, Walked
from db.reconciliation_books import ReconciliationBooks
from db.reconciliation_links import ReconciliationLinks
from db.reconciliation_reads import LineFilter, ReconciliationReads
from db.reconciliations import Reconciliations
from db.refunds import RefundLedger
from domain.bank import BankFact, next_step
from domain.ids import RECONCILIATION, new_id
from domain.invoice import Attention, Change, OpenInvoice
from domain.reconciliation_run import Line, NewRun, Run, Trigger
from domain.statement import StatementRow
from tests.activities.town import Town
from tests.db.books import Shop
from tests.support.discrepancies import Planter

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
