"""The bookkeeping of status checks: which open payments of a connection are due for a look at the bank."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant
from db.resuming import invoice_order
from domain.invoice import Attention, Kind, OpenInvoice, State

# Due now, the merchant's own requests first. The poller of a connection is alone (one workflow, one activity), so
# no row locks are needed; two of them for a moment would only look twice.
_DUE = text(
    "select w.invoice_id, w.bank_payment_id, w.kind, w.poll_interval, w.cancel_requested, w.closed, w.checks,"
    " w.last_word, w.created_at, w.requested_at, w.next_check_at, w.deadline_at, clock_timestamp() as seen_at,"
    " i.amount, i.sequence, i.state, i.attention"
    " from bank_watches w join invoices i on i.id = w.invoice_id"
    " where w.merchant_id = :merchant and w.connection_id = :connection and w.next_check_at <= now()"
    " order by w.requested_at nulls last, w.next_check_at limit :limit"
)
# Where phone bills are not polled, only a merchant's question makes a look at one.
_SILENCED = text(
    "update bank_watches set next_check_at = null where merchant_id = :merchant and connection_id = :connection"
    " and kind = 'phone' and requested_at is null and next_check_at <= now()"
)
# The look that sees "expired" is written after the story has booked it: what the close has set for the late watch
# (checks from zero, its first look) must not be overwritten by the plan of an open payment.
_LOOKED = text(
    "update bank_watches w set last_word = s.word, last_checked_at = now(),"
    " answered_at = greatest(w.answered_at, s.answered_at),"
    " news_sequence = coalesce(s.news_sequence, w.news_sequence),"
    " checks = case when w.closed = s.closed then s.checks else w.checks end,"
    " next_check_at = case when w.closed = s.closed and w.requested_at is not distinct from s.requested_at"
    "   then s.next else w.next_check_at end,"
    " requested_at = case when w.requested_at is distinct from s.requested_at then w.requested_at end"
    " from unnest(cast(:ids as text[]), cast(:words as text[]), cast(:checks as int[]),"
    "   cast(:nexts as timestamptz[]), cast(:requests as timestamptz[]), cast(:closed as bool[]),"
    "   cast(:answers as timestamptz[]), cast(:news as int[]))"
    "   as s(id, word, checks, next, requested_at, closed, answered_at, news_sequence)"
    " where w.invoice_id = s.id and w.merchant_id = :merchant"
)
_POSTPONED = text(
    "update bank_watches set next_check_at = greatest(next_check_at, :until)"
    " where merchant_id = :merchant and connection_id = :connection and next_check_at < :until and kind = any(:kinds)"
)
_REQUESTED = text(
    "update bank_watches set requested_at = clock_timestamp(), next_check_at = now()"
    " where merchant_id = :merchant and invoice_id = any(:ids) returning invoice_id, requested_at"
)
# A payment that is booked as paid is watched no more: its row is gone, and the question with it.
_UNANSWERED = text(
    "select w.invoice_id from bank_watches w join invoices i on i.id = w.invoice_id"
    " join unnest(cast(:ids as text[]), cast(:asked as timestamptz[])) as s(id, asked_at) on s.id = w.invoice_id"
    " where w.merchant_id = :merchant"
    " and (w.answered_at is null or w.answered_at < s.asked_at or w.news_sequence >= i.sequence)"
)
# An open bill without a watch may still get one: its answer is unknown, or on its way.
_NEEDED = text(
    "select c.active = 1"
    " or exists (select 1 from bank_watches w where w.merchant_id = c.merchant_id and w.connection_id = c.id"
    "   and (not w.closed or w.next_check_at is not null))"
    " or exists (select 1 from invoices i where i.merchant_id = c.merchant_id and i.connection_id = c.id"
    "   and i.state in ('processing', 'pending'))"
    " from connections c where c.merchant_id = :merchant and c.id = :connection"
)


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """One payment to look at; amounts in tiyn, `poll_interval` in seconds, `seen_at` by the database's clock."""

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
    next_check_at: datetime
    deadline_at: datetime | None
    seen_at: datetime
    amount: int
    sequence: int
    state: State
    attention: Attention | None

    def after(
        self,
        *,
        word: str | None,
        checks: int,
        next_check_at: datetime | None,
        answered: bool = True,
        news: bool = False,
    ) -> "Looked":
        """The result of looking at this one; `news` was told and will be booked as the invoice's next step."""
        return Looked(
            invoice_id=self.invoice_id,
            word=word,
            checks=checks,
            next=next_check_at,
            requested_at=self.requested_at,
            closed=self.closed,
            answered_at=self.seen_at if answered else None,
            news_sequence=self.sequence if news else None,
        )


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one look; `next` None means "only when somebody asks"; `closed` as it was when it began.

    `answered_at` is when a look began that the bank answered; `news_sequence` the invoice's before its news is booked.
    """

    invoice_id: str
    word: str | None
    checks: int
    next: datetime | None
    requested_at: datetime | None
    closed: bool
    answered_at: datetime | None = None
    news_sequence: int | None = None


class Watches:
    """Reads and writes check times as the application's role."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def due(self, merchant_id: str, connection_id: str, *, limit: int, phone_polling: bool = True) -> list[Due]:
        """Payments whose time has come; without `phone_polling`, phone bills only where somebody asked."""
        values = {"merchant": merchant_id, "connection": connection_id}
        async with as_merchant(self._engine, merchant_id) as connection:
            if not phone_polling:
                await connection.execute(_SILENCED, values)
            found = await connection.execute(_DUE, values | {"limit": limit})
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
                    "answers": [look.answered_at for look in looks],
                    "news": [look.news_sequence for look in looks],
                },
            )

    async def postpone(self, merchant_id: str, connection_id: str, *, kinds: list[Kind], until: datetime) -> None:
        """Nothing of these kinds is looked at before `until`: the bank rejected polling."""
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(
                _POSTPONED,
                {"merchant": merchant_id, "connection": connection_id, "kinds": list(kinds), "until": until},
            )

    async def request(self, merchant_id: str, invoice_ids: list[str]) -> dict[str, datetime]:
        """Asks the poller to look at these now; gives those that are watched, with the time of the question."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_REQUESTED, {"merchant": merchant_id, "ids": invoice_ids})
            return {row.invoice_id: row.requested_at for row in found}

    async def unanswered(self, merchant_id: str, asked: dict[str, datetime]) -> list[str]:
        """Those about which the bank has not answered since they were asked, or whose news is not booked yet."""
        values = {"merchant": merchant_id, "ids": list(asked), "asked": list(asked.values())}
        async with as_merchant(self._engine, merchant_id) as connection:
            return list((await connection.execute(_UNANSWERED, values)).scalars())

    async def needed(self, merchant_id: str, connection_id: str) -> bool:
        """False for a link out of use that has nothing left to watch."""
        values = {"merchant": merchant_id, "connection": connection_id}
        async with as_merchant(self._engine, merchant_id) as connection:
            return bool((await connection.execute(_NEEDED, values)).scalar_one_or_none())

    async def order(self, merchant_id: str, invoice_id: str) -> OpenInvoice:
        """The command to resume the story of a bill that has none any more."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await invoice_order(connection, invoice_id)
        if found is None:
            raise LookupError("no such invoice")
        return found
