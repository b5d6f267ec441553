"""The bookkeeping of status checks: which open payments of a connection are due for a look at the bank."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant
from domain.invoice import Kind

# Due now, the merchant's own requests first. The poller of a connection is alone (one workflow, one activity), so
# no row locks are needed; two of them for a moment would only look twice.
_DUE = text(
    "select w.invoice_id, w.bank_payment_id, w.kind, w.poll_interval, w.cancel_requested, w.closed, w.checks,"
    " w.last_word, w.created_at, w.requested_at, i.amount"
    " from bank_watches w join invoices i on i.id = w.invoice_id"
    " where w.merchant_id = :merchant and w.connection_id = :connection and w.next_check_at <= now()"
    " order by w.requested_at nulls last, w.next_check_at limit :limit"
)
# The look that sees "expired" is written after the story has booked it: what the close has set for the late watch
# (checks from zero, its first look) must not be overwritten by the plan of an open payment.
_LOOKED = text(
    "update bank_watches w set last_word = s.word, last_checked_at = now(),"
    " checks = case when w.closed = s.closed then s.checks else w.checks end,"
    " next_check_at = case when w.closed = s.closed and w.requested_at is not distinct from s.requested_at"
    "   then s.next else w.next_check_at end,"
    " requested_at = case when w.requested_at is distinct from s.requested_at then w.requested_at end"
    " from unnest(cast(:ids as text[]), cast(:words as text[]), cast(:checks as int[]),"
    "   cast(:nexts as timestamptz[]), cast(:requests as timestamptz[]), cast(:closed as bool[]))"
    "   as s(id, word, checks, next, requested_at, closed)"
    " where w.invoice_id = s.id and w.merchant_id = :merchant"
)
_POSTPONED = text(
    "update bank_watches set next_check_at = greatest(next_check_at, :until), requested_at = null"
    " where merchant_id = :merchant and connection_id = :connection and next_check_at < :until and kind = any(:kinds)"
)
_REQUESTED = text(
    "update bank_watches set requested_at = clock_timestamp(), next_check_at = now()"
    " where merchant_id = :merchant and invoice_id = any(:ids) returning invoice_id"
)
_ANSWERED = text(
    "select invoice_id from bank_watches where merchant_id = :merchant and invoice_id = any(:ids)"
    " and requested_at is not null"
)


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """One payment to look at; amounts in tiyn, `poll_interval` in seconds."""

    invoice_id: str
    bank_payment_id: int
    kind: Kind
    poll_interval: float
    cancel_requested: bool
    closed: bool
    checks: int
    last_word: str | None
    created_at: datetime
    requested_at: datetime | None
    amount: int

    def after(self, *, word: str | None, checks: int, next_check_at: datetime | None) -> "Looked":
        """The result of looking at this one."""
        return Looked(
            invoice_id=self.invoice_id,
            word=word,
            checks=checks,
            next=next_check_at,
            requested_at=self.requested_at,
            closed=self.closed,
        )


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one look; `next` None means "only when somebody asks"; `closed` as it was when it began."""

    invoice_id: str
    word: str | None
    checks: int
    next: datetime | None
    requested_at: datetime | None
    closed: bool


class Watches:
    """Reads and writes check times as the application's role."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def due(self, merchant_id: str, connection_id: str, *, limit: int) -> list[Due]:
        """Payments whose time has come."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(
                _DUE, {"merchant": merchant_id, "connection": connection_id, "limit": limit}
            )
            return [msgspec.convert(row, Due) for row in found.mappings()]

    async def looked(self, merchant_id: str, looks: list[Looked]) -> None:
        """Writes many results in one statement; a request that came meanwhile stays due."""
        if not looks:
            return
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(
                _LOOKED,
                {
                    "merchant": merchant_id,
                    "ids": [look.invoice_id for look in looks],
                    "words": [look.word for look in looks],
                    "checks": [look.checks for look in looks],
                    "nexts": [look.next for look in looks],
                    "requests": [look.requested_at for look in looks],
                    "closed": [look.closed for look in looks],
                },
            )

    async def postpone(self, merchant_id: str, connection_id: str, *, kinds: list[Kind], until: datetime) -> None:
        """Nothing of these kinds is looked at before `until`: the bank rejected polling."""
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(
                _POSTPONED,
                {"merchant": merchant_id, "connection": connection_id, "kinds": list(kinds), "until": until},
            )

    async def request(self, merchant_id: str, invoice_ids: list[str]) -> list[str]:
        """Asks the poller to look at these now; gives those that are watched."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_REQUESTED, {"merchant": merchant_id, "ids": invoice_ids})
            return list(found.scalars())

    async def unanswered(self, merchant_id: str, invoice_ids: list[str]) -> list[str]:
        """Those of the requested that the poller has not looked at yet."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_ANSWERED, {"merchant": merchant_id, "ids": invoice_ids})
            return list(found.scalars())
