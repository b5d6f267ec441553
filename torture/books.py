"""Our books, read as the operator with SQL of its own: the judge does not look through the code it judges."""

import asyncio
from typing import Any

import asyncpg
import msgspec

from torture.evidence import DeliveryRow, EventRow, InvoiceRow, RefundRow

_INVOICES = """
select id, kind, amount, refunded, refund_pending, state, status_reason, attention, bank_payment_id, claimed_at,
  updated_at
from invoices where merchant_id = $1 and not is_sandbox order by created_at
"""
_REFUNDS = """
select id, invoice_id, amount, state, attention, bank_return_id, created_at, updated_at
from refunds where merchant_id = $1 and not is_sandbox order by created_at
"""
_EVENTS = "select id, type, object_id, sequence, object from events where merchant_id = $1 and not is_sandbox"
_DELIVERIES = "select event_id, state, body from deliveries where merchant_id = $1"
_UNSETTLED = """
select id from invoices where merchant_id = $1 and state in ('processing', 'pending') and attention is null
union all
select id from refunds r where merchant_id = $1 and attention is null and state in ('pending', 'processing')
  and not exists (select 1 from refunds b where b.invoice_id = r.invoice_id and b.position < r.position
    and b.attention is not null)
union all
select id from deliveries where merchant_id = $1 and state = 'pending'
"""
_SALT = "select id_salt from merchants where id = $1"


class Books:
    """Reads for one merchant; each call waits for a database that is away."""

    def __init__(self, dsn: str, merchant_id: str) -> None:
        self._dsn = dsn
        self._merchant = merchant_id

    async def invoices(self) -> list[InvoiceRow]:
        return [msgspec.convert(dict(row), InvoiceRow) for row in await self._rows(_INVOICES)]

    async def refunds(self) -> list[RefundRow]:
        return [msgspec.convert(dict(row), RefundRow) for row in await self._rows(_REFUNDS)]

    async def events(self) -> list[EventRow]:
        return [_event(row) for row in await self._rows(_EVENTS)]

    async def deliveries(self) -> list[DeliveryRow]:
        return [msgspec.convert(dict(row), DeliveryRow) for row in await self._rows(_DELIVERIES)]

    async def unsettled(self) -> list[str]:
        """Invoices, refunds and deliveries that are on their way and wait for nobody."""
        return [row[0] for row in await self._rows(_UNSETTLED)]

    async def salt(self) -> bytes:
        """What the merchant's ids are derived with."""
        return bytes((await self._rows(_SALT))[0][0])

    async def _rows(self, query: str) -> list[Any]:
        while True:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=5)
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.2)
                continue
            try:
                return list(await connection.fetch(query, self._merchant))
            except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
                await asyncio.sleep(0.2)
            finally:
                connection.terminate()


def _event(row: Any) -> EventRow:
    about = msgspec.json.decode(row["object"])
    return EventRow(
        id=row["id"],
        type=row["type"],
        object_id=row["object_id"],
        sequence=row["sequence"],
        state=about.get("state"),
        attention=about.get("attention"),
    )
