"""The real books over one database: every gateway of the db room, and merchants that work."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import text

from contracts.rendering import Contracts
from db.deliveries import Deliveries
from db.endpoints import Endpoints, new_endpoint_id
from db.engine import create_engine
from db.inspection import Inspection
from db.ledger import Ledger
from db.reads import Reads
from db.refund_reads import RefundReads
from db.refunds import RefundLedger
from db.registry import MerchantRecords, NewConnection, Registry, new_connection_id
from db.watches import Watches
from dev.postgres import Database
from domain.bank import Scheme
from domain.event import Attempted, AttemptOutcome, NotSent
from domain.ids import INVOICE, REFUND, new_id
from domain.invoice import Booked, Change, Invoice, Issued, Kind, OpenInvoice, State
from domain.refund import OpenRefund, Refund, RefundChange, RefundReason, RefundStanding, RefundState

PUBLIC_URL = "https://pay.example"
PHONE = "77011234567"
BIN = "210140000016"

AT_ONCE = 20

_payments = itertools.count(100_000_000)


@dataclass
class Books:
    """Gateways as the application's role, `registry` and `inspection` as the operator's."""

    database: Database

    def __post_init__(self) -> None:
        self.app = create_engine(self.database.app_url, pool_size=AT_ONCE)
        self.operator = create_engine(self.database.operator_url, pool_size=5)
        self.renderer = Contracts(PUBLIC_URL)
        self.ledger = Ledger(self.app, self.renderer)
        self.refunds = RefundLedger(self.app, self.renderer)
        self.reads = Reads(self.app)
        self.refund_reads = RefundReads(self.app)
        self.watches = Watches(self.app)
        self.deliveries = Deliveries(self.app, self.renderer)
        self.records = MerchantRecords(self.app)
        self.endpoints = Endpoints(self.app)
        self.registry = Registry(self.operator)
        self.inspection = Inspection(self.operator)

    async def close(self) -> None:
        await self.app.dispose()
        await self.operator.dispose()

    async def fetch(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """What really stands there, whatever row-level security says; for judging, never for doing."""
        async with self.operator.connect() as connection:
            return [dict(row) for row in (await connection.execute(text(query), values)).mappings()]

    async def do(self, query: str, **values: Any) -> None:
        """SQL as the operator's role."""
        async with self.operator.begin() as connection:
            await connection.execute(text(query), values)

    async def attempted(
        self, merchant_id: str, delivery_id: str, outcome: AttemptOutcome, *, disable_after: float = 120 * 3600.0
    ) -> Attempted:
        """One attempt from beginning to end: read as due, then booked."""
        due = await self.deliveries.due(merchant_id, delivery_id)
        assert due is not None
        sent = msgspec.structs.replace(outcome, url=due.url)
        return await self.deliveries.attempted(due, merchant_id, sent, disable_after=disable_after)

    async def give_up(self, merchant_id: str, delivery_id: str, why: NotSent) -> None:
        due = await self.deliveries.due(merchant_id, delivery_id)
        assert due is not None
        await self.deliveries.give_up(due, merchant_id, why)

    async def merchant(self) -> "Shop":
        """A new merchant with an r3 connection that leads to no bank."""
        made = await self.registry.add_merchant("Shop", BIN)
        return Shop(self, made.id, await self.connection(made.id))

    async def connection(self, merchant_id: str) -> str:
        new = NewConnection(
            id=new_connection_id(),
            merchant_id=merchant_id,
            scheme=Scheme.R3,
            base_url="https://bank.invalid/r3/v01",
            organization_bin=BIN,
            trade_point_id=10001,
            trade_point_name="Demo shop",
            device_id="till-1",
            sealed=b"sealed",
        )
        return (await self.registry.add_connection(new)).id


@dataclass
class Shop:
    """One merchant and what is usually done for it."""

    books: Books
    id: str
    connection_id: str

    def order(self, kind: Kind = Kind.PHONE, *, sandbox: bool = False, **changes: Any) -> OpenInvoice:
        now = datetime.now(UTC)
        fields: dict[str, Any] = {
            "invoice_id": new_id(INVOICE),
            "merchant_id": self.id,
            "kind": kind,
            "is_sandbox": sandbox,
            "amount": 1_000_000,
            "issue_before": now + timedelta(seconds=20),
            "answer_by": now + timedelta(seconds=20),
            "fingerprint": "f1",
            "operation": "invoices",
            "request_id": "req_1",
            "late_watch": 900.0,
            "connection_id": None if sandbox else self.connection_id,
            "phone": PHONE if kind is Kind.PHONE else None,
        }
        return OpenInvoice(**(fields | changes))

    async def opened(self, kind: Kind = Kind.PHONE, **changes: Any) -> OpenInvoice:
        order = self.order(kind, **changes)
        assert (await self.books.ledger.open_invoice(order)).claimed
        return order

    async def pending(self, kind: Kind = Kind.PHONE, *, payment: int | None = None, **changes: Any) -> Invoice:
        """An issued bill that waits for its payer."""
        order = await self.opened(kind, **changes)
        await self.book(order.invoice_id, "issued", State.PENDING, issued=issued(payment), announce=False)
        return await self.invoice(order.invoice_id)

    async def paid(self, kind: Kind = Kind.QR, *, payment: int | None = None, **changes: Any) -> Invoice:
        """A bill whose money came."""
        invoice = await self.pending(kind, payment=payment, **changes)
        await self.book(invoice.id, "paid", State.PAID)
        return await self.invoice(invoice.id)

    def refund_order(self, invoice: Invoice, amount: int | None = None, **changes: Any) -> OpenRefund:
        fields: dict[str, Any] = {
            "refund_id": new_id(REFUND),
            "merchant_id": self.id,
            "invoice_id": invoice.id,
            "is_sandbox": invoice.is_sandbox,
            "open_before": datetime.now(UTC) + timedelta(seconds=60),
            "fingerprint": "f1",
            "operation": "refunds",
            "request_id": "req_1",
            "asked_by": "key_1",
            "amount": amount,
        }
        return OpenRefund(**(fields | changes))

    async def refund(
        self,
        invoice: Invoice,
        amount: int | None = None,
        *,
        to: RefundState = RefundState.COMPLETED,
        reason: RefundReason | None = None,
        **changes: Any,
    ) -> Refund:
        """A refund that is in this state; COMPLETED and FAILED have had their turn."""
        order = self.refund_order(invoice, amount, **changes)
        assert (await self.books.refunds.open(order)).created
        if to is not RefundState.PENDING:
            assert (await self.books.refunds.turn(self.id, order.refund_id)).created
        if to in {RefundState.COMPLETED, RefundState.FAILED}:
            assert (await self.book_refund(order.refund_id, to, to, reason=reason)).created
        return await self.refund_of(order.refund_id)

    async def book_refund(
        self, refund_id: str, cause: str, state: RefundState | None = None, **fields: Any
    ) -> RefundStanding:
        change = RefundChange(refund_id=refund_id, merchant_id=self.id, cause=cause, state=state, **fields)
        return await self.books.refunds.book(change)

    async def refund_of(self, refund_id: str) -> Refund:
        found = await self.books.refund_reads.refund(self.id, refund_id)
        assert found is not None
        return found

    async def book(self, invoice_id: str, cause: str, state: State | None = None, **fields: Any) -> Booked:
        change = Change(invoice_id=invoice_id, merchant_id=self.id, cause=cause, state=state, **fields)
        return await self.books.ledger.book(change)

    async def invoice(self, invoice_id: str) -> Invoice:
        found = await self.books.reads.invoice(self.id, invoice_id)
        assert found is not None
        return found

    async def endpoint(self, *events: str, sandbox: bool = False, url: str = "https://shop.example/hook") -> str:
        made = await self.books.endpoints.add(
            self.id,
            new_endpoint_id(),
            url=url,
            events=list(events or "*"),
            is_sandbox=sandbox,
            sealed=b"sealed",
            asked_by="key_1",
        )
        return made.id

    async def events(self, object_id: str) -> list[dict[str, Any]]:
        return await self.books.fetch("select * from events where object_id = :id order by sequence", id=object_id)

    async def watch(self, invoice_id: str) -> dict[str, Any] | None:
        found = await self.books.fetch("select * from bank_watches where invoice_id = :id", id=invoice_id)
        return found[0] if found else None


def issued(payment: int | None = None, *, poll_interval: float = 5.0) -> Issued:
    """A bank's answer that nobody gave before, unless `payment` says otherwise."""
    now = datetime.now(UTC)
    return Issued(
        bank_payment_id=next(_payments) if payment is None else payment,
        expires_at=now + timedelta(minutes=3),
        deadline=now + timedelta(minutes=4),
        poll_interval=poll_interval,
    )


@asynccontextmanager
async def role(database: Database, name: str, merchant_id: str | None = None) -> AsyncIterator[Any]:
    """A plain connection as one role, in a transaction that is rolled back; our own code is not in the way."""
    connection = await asyncpg.connect(database.dsn(name))
    try:
        transaction = connection.transaction()
        await transaction.start()
        if merchant_id is not None:
            await connection.execute("select set_config('app.merchant', $1, true)", merchant_id)
        yield connection
        await transaction.rollback()
    finally:
        await connection.close()


async def waiting_for_a_lock(books: Books, query_part: str) -> None:
    """Returns when some session of the application's role waits for a lock with such a query."""
    # A role sees the queries of its own sessions only.
    waits = text(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        " and query like :part"
    )
    async with asyncio.timeout(30), books.app.connect() as connection:
        while not (await connection.execute(waits, {"part": f"%{query_part}%"})).scalar_one():
            await connection.rollback()  # statistics are frozen within a transaction
            await asyncio.sleep(0.01)


async def at_once(count: int, make: Callable[[int], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Many calls that really overlap, as many at a time as the pool keeps: who waits too long for it is refused."""
    places = asyncio.Semaphore(AT_ONCE)

    async def placed(number: int) -> Any:
        async with places:
            return await make(number)

    return await asyncio.gather(*(placed(number) for number in range(count)))
