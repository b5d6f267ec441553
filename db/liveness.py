"""What the books say is alive, over every merchant; needs the operator role's engine. Read only."""

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import transaction
from db.resuming import invoice_order, refund_order
from domain.invoice import OpenInvoice
from domain.redelivery import Redeliver
from domain.refund import OpenRefund
from domain.subscription_record import SubscriptionRef

# Pages by id through partial indexes (ix_invoices_live, ix_refunds_live, ix_deliveries_pending, …): what is over costs
# nothing. Who changed a moment ago has a story, or its starter is at work.
_INVOICES = text(
    "select id from invoices where (state in ('processing', 'pending') or attention is not null) and id > :after"
    " and updated_at < now() - make_interval(secs => cast(:grace as double precision)) order by id limit :limit"
)
_REFUNDS = text(
    "select id from refunds where state in ('pending', 'processing') and id > :after"
    " and updated_at < now() - make_interval(secs => cast(:grace as double precision)) order by id limit :limit"
)
_DELIVERIES = text(
    "select d.id, d.merchant_id, d.attempts, e.object_id, e.cause,"
    " extract(epoch from now() - d.next_attempt_at)::double precision as overdue"
    " from (select * from deliveries where state = 'pending' and id > :after"
    "   and next_attempt_at < now() - make_interval(secs => cast(:grace as double precision)) order by id limit :limit"
    " ) d join events e on e.id = d.event_id order by d.id"
)
_REDELIVERIES = text(
    "select merchant_id, id as redelivery_id from redeliveries where state = 'running' and id > :after"
    " and created_at < now() - make_interval(secs => cast(:grace as double precision)) order by id limit :limit"
)

_SUBSCRIPTIONS = text(
    "select merchant_id, id as subscription_id, is_sandbox from subscriptions"
    " where (state in ('active', 'past_due', 'paused') or invoice_id is not null) and id > :after"
    " and updated_at < now() - make_interval(secs => cast(:grace as double precision)) order by id limit :limit"
)
_TEST_CLOCKS = text(
    "select merchant_id, id from test_clocks where state = 'advancing' and id > :after"
    " and updated_at < now() - make_interval(secs => cast(:grace as double precision)) order by id limit :limit"
)


class Overdue(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook whose next attempt should have been `overdue` seconds ago, and the step that it tells."""

    id: str
    merchant_id: str
    attempts: int
    object_id: str
    cause: str
    overdue: float


class Liveness:
    """Every method gives one page after the id `after`; shorter than `limit` is the last one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def invoices(self, *, after: str, grace: float, limit: int) -> list[str]:
        """Ids of invoices that are open or wait for an operator, and changed longer than `grace` seconds ago."""
        return await self._ids(_INVOICES, after, grace, limit)

    async def refunds(self, *, after: str, grace: float, limit: int) -> list[str]:
        """Ids of refunds that are not over, and changed longer than `grace` seconds ago."""
        return await self._ids(_REFUNDS, after, grace, limit)

    async def _ids(self, statement: TextClause, after: str, grace: float, limit: int) -> list[str]:
        async with transaction(self._engine) as connection:
            found = await connection.execute(statement, {"after": after, "grace": grace, "limit": limit})
            return list(found.scalars())

    async def deliveries(self, *, after: str, grace: float, limit: int) -> list[Overdue]:
        """Webhooks that nobody has attempted for `grace` seconds longer than they should have waited."""
        async with transaction(self._engine) as connection:
            found = await connection.execute(_DELIVERIES, {"after": after, "grace": grace, "limit": limit})
            return [msgspec.convert(row, Overdue) for row in found.mappings()]

    async def redeliveries(self, *, after: str, grace: float, limit: int) -> list[Redeliver]:
        """The commands of redeliveries that are not over, and were asked for longer than `grace` seconds ago."""
        async with transaction(self._engine) as connection:
            found = await connection.execute(_REDELIVERIES, {"after": after, "grace": grace, "limit": limit})
            return [msgspec.convert(row, Redeliver) for row in found.mappings()]

    async def subscriptions(self, *, after: str, grace: float, limit: int) -> list[SubscriptionRef]:
        """Subscriptions that are not over, and were not decided about for `grace` seconds."""
        async with transaction(self._engine) as connection:
            found = await connection.execute(_SUBSCRIPTIONS, {"after": after, "grace": grace, "limit": limit})
            return [msgspec.convert(dict(row), SubscriptionRef) for row in found.mappings()]

    async def test_clocks(self, *, after: str, grace: float, limit: int) -> list[tuple[str, str]]:
        """Merchant and id of test clocks that are on their way for more than `grace` seconds."""
        async with transaction(self._engine) as connection:
            found = await connection.execute(_TEST_CLOCKS, {"after": after, "grace": grace, "limit": limit})
            return [(row.merchant_id, row.id) for row in found]

    async def invoice_order(self, invoice_id: str) -> OpenInvoice | None:
        """The command that tells its story again."""
        async with transaction(self._engine) as connection:
            return await invoice_order(connection, invoice_id)

    async def refund_order(self, refund_id: str) -> OpenRefund | None:
        """The command that tells its story again."""
        async with transaction(self._engine) as connection:
            return await refund_order(connection, refund_id)
