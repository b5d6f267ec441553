"""What operators look at, over every merchant; needs the operator role's engine."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import transaction
from db.rows import INVOICE_COLUMNS, REFUND_COLUMNS, to_invoice, to_refund
from domain.event import DeliveryState
from domain.invoice import Invoice
from domain.refund import Refund

_INVOICE = text(f"select {INVOICE_COLUMNS} from invoices where id = :id")
_ATTENTION = text(
    f"select {INVOICE_COLUMNS} from invoices where attention is not null"
    " and (cast(:merchant as text) is null or merchant_id = :merchant) order by created_at desc, id limit :limit"
)
_REFUND = text(f"select {REFUND_COLUMNS} from refunds where id = :id")
_REFUND_ATTENTION = text(
    f"select {REFUND_COLUMNS} from refunds where attention is not null and state in ('pending', 'processing')"
    " and (cast(:merchant as text) is null or merchant_id = :merchant) order by created_at desc, id limit :limit"
)
_TOLD = text(
    "select e.id as event_id, e.type, e.cause, e.sequence, e.created_at, d.id as delivery_id, d.endpoint_id, d.state,"
    " d.attempts, d.last_status, d.last_error, d.next_attempt_at"
    " from events e left join deliveries d on d.event_id = e.id"
    " where e.object_id = :id order by e.sequence, d.endpoint_id"
)
_WATCH = text(
    "select last_word, checks, last_checked_at, next_check_at, closed from bank_watches where invoice_id = :id"
)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One event and one delivery of it, if anybody wanted it."""

    event_id: str
    type: str
    cause: str
    sequence: int
    created_at: datetime
    delivery_id: str | None
    endpoint_id: str | None
    state: DeliveryState | None
    attempts: int | None
    last_status: int | None
    last_error: str | None
    next_attempt_at: datetime | None


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How the poller sees a payment."""

    last_word: str | None
    checks: int
    last_checked_at: datetime | None
    next_check_at: datetime | None
    closed: bool


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice with all that was told about it."""

    invoice: Invoice
    told: list[Told]
    watch: Watch | None


class Inspection:
    """Read only."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def invoice(self, invoice_id: str) -> Inspected | None:
        """One invoice of any merchant."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_INVOICE, {"id": invoice_id})).mappings().one_or_none()
            if row is None:
                return None
            told = (await connection.execute(_TOLD, {"id": invoice_id})).mappings().all()
            watch = (await connection.execute(_WATCH, {"id": invoice_id})).mappings().one_or_none()
        return Inspected(
            invoice=to_invoice(row),
            told=[msgspec.convert(one, Told) for one in told],
            watch=None if watch is None else msgspec.convert(watch, Watch),
        )

    async def refund(self, refund_id: str) -> Refund | None:
        """One refund of any merchant."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_REFUND, {"id": refund_id})).mappings().one_or_none()
        return None if row is None else to_refund(row)

    async def refund_attention(self, merchant_id: str | None, *, limit: int = 100) -> list[Refund]:
        """Refunds that wait for a human, newest first."""
        async with transaction(self._engine) as connection:
            found = await connection.execute(_REFUND_ATTENTION, {"merchant": merchant_id, "limit": limit})
            return [to_refund(row) for row in found.mappings()]

    async def attention(self, merchant_id: str | None, *, limit: int = 100) -> list[Invoice]:
        """Invoices that wait for a human, newest first."""
        async with transaction(self._engine) as connection:
            found = await connection.execute(_ATTENTION, {"merchant": merchant_id, "limit": limit})
            return [to_invoice(row) for row in found.mappings()]
