"""What a reconciliation reads of our books: the payments of a period, and how they stand this moment."""

from datetime import timedelta

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant
from domain.reconciliation import Ours, StatementPayment
from domain.reconciliation_run import Place, Run

_OURS = (
    "i.id as invoice_id, i.connection_id, i.kind, i.bank_payment_id, i.state, i.amount, i.created_at, i.refunded,"
    " i.refunded_outside, i.status_reason, i.attention, i.deadline_at as payable_until,"
    " exists (select 1 from refunds r where r.invoice_id = i.id and r.merchant_id = i.merchant_id and"
    "   (r.state in ('pending', 'processing') or r.completed_at > now() - cast(:lag as interval)))"
    "   as refunds_settling,"
    " exists (select 1 from events e where e.object_id = i.id and e.cause like 'accepted_paid%')"
    "   as amount_accepted"
)
_LIVE = "i.merchant_id = :merchant and i.bank_payment_id is not null and not i.is_sandbox"
# Whoever was made or paid in the period was touched after its beginning: the index on updated_at finds them all.
_PAYMENTS = text(
    f"select {_OURS} from invoices i where {_LIVE} and i.connection_id = :connection"
    " and (i.state in ('processing', 'pending') or i.attention is not null or (i.updated_at >= :period_from and ("
    "   (i.created_at >= :period_from and i.created_at < :period_to)"
    "   or (i.paid_at >= :period_from and i.paid_at < :period_to)"
    "   or (i.updated_at >= :period_from and i.updated_at < :period_to))))"
    " and (i.created_at, i.id) > (coalesce(:after, '-infinity'::timestamptz), :after_id)"
    " order by i.created_at, i.id limit :limit"
)
_FRESH = text(f"select {_OURS} from invoices i where {_LIVE} and i.bank_payment_id = any(:payments)")
_STATEMENT = text(
    "select bank_payment_id, cast(sum(amount) filter (where operation = 'payment') as bigint) as paid,"
    " cast(coalesce(sum(amount) filter (where operation = 'refund'), 0) as bigint) as refunded,"
    " coalesce(array_agg(distinct reference) filter (where reference is not null), '{}') as references"
    " from statement_lines where merchant_id = :merchant and reconciliation_id = :id and bank_payment_id > :after"
    " group by bank_payment_id order by bank_payment_id limit :limit"
)
# Made after the statement's first moment and booked as paid before its last: the bank took the money in between.
_ABSENT = text(
    f"select {_OURS} from invoices i, (select min(happened_at) as first, max(happened_at) as last"
    "   from statement_lines where merchant_id = :merchant and reconciliation_id = :id) s"
    f" where {_LIVE} and i.connection_id = :connection and i.updated_at >= s.first"
    " and i.created_at >= s.first and i.paid_at <= s.last and not exists ("
    "   select 1 from statement_lines l where l.reconciliation_id = :id and l.bank_payment_id = i.bank_payment_id"
    "   and l.operation = 'payment')"
    " and (i.created_at, i.id) > (coalesce(:after, '-infinity'::timestamptz), :after_id)"
    " order by i.created_at, i.id limit :limit"
)
# domain.invoice.bank_reference in SQL: the attention index keeps the list short.
_REFERRED = text(
    "select 'T-' || substr(id, 5, 10) as reference, id from invoices where merchant_id = :merchant"
    " and attention = 'kaspi_outcome_unknown' and 'T-' || substr(id, 5, 10) = any(:references)"
)


class ReconciliationBooks:
    """Reads as the application's role. `lag` is how long the bank's sums may be behind a refund."""

    def __init__(self, engine: AsyncEngine, lag: timedelta) -> None:
        self._engine = engine
        self._lag = lag

    async def payments(self, run: Run, place: Place, *, limit: int) -> list[Ours]:
        """The next payments of the connection that were made, paid or touched in the period, or wait for something."""
        values = {"period_from": run.period_from, "period_to": run.period_to}
        return await self._ours(_PAYMENTS, run, place, limit=limit, **values)

    async def absent(self, run: Run, place: Place, *, limit: int) -> list[Ours]:
        """The next payments that were surely taken within the statement's time, and do not stand in it."""
        return await self._ours(_ABSENT, run, place, limit=limit, id=run.id)

    async def _ours(self, query: TextClause, run: Run, place: Place, *, limit: int, **more: object) -> list[Ours]:
        values = {"merchant": run.merchant_id, "connection": run.connection_id, "lag": self._lag, "limit": limit}
        values |= {"after": place.created_at, "after_id": place.id, **more}
        async with as_merchant(self._engine, run.merchant_id) as connection:
            found = await connection.execute(query, values)
            return [msgspec.convert(row, Ours) for row in found.mappings()]

    async def fresh(self, merchant_id: str, payments: list[int]) -> dict[int, Ours]:
        """How these payments stand now, by their id at the bank; whatever connection they came by."""
        values = {"merchant": merchant_id, "payments": payments, "lag": self._lag}
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_FRESH, values)
            rows = [msgspec.convert(row, Ours) for row in found.mappings()]
        return {row.bank_payment_id: row for row in rows}

    async def statement(self, run: Run, place: Place, *, limit: int) -> list[StatementPayment]:
        """The next payments of the statement, each with all its rows summed up."""
        values = {"merchant": run.merchant_id, "id": run.id, "after": place.payment, "limit": limit}
        async with as_merchant(self._engine, run.merchant_id) as connection:
            found = await connection.execute(_STATEMENT, values)
            return [msgspec.convert(row, StatementPayment) for row in found.mappings()]

    async def referred(self, merchant_id: str, references: list[str]) -> dict[str, str]:
        """Invoices with an unknown outcome by the reference that their bill would carry."""
        if not references:
            return {}
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_REFERRED, {"merchant": merchant_id, "references": references})
            return {row.reference: row.id for row in found}
