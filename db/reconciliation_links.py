"""Which bank connections the nightly reconciliation is about, over every merchant; needs the operator role's engine."""

from datetime import timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import transaction

LINKS_AT_ONCE = 100

# A replaced link keeps its payments: what was paid over it yesterday is compared over it today.
_LINKS = text(
    "select c.merchant_id, c.id as connection_id from connections c where c.id > :after and (c.active = 1"
    " or exists (select 1 from invoices i where i.merchant_id = c.merchant_id and i.connection_id = c.id"
    "   and i.updated_at > now() - cast(:age as interval) and i.bank_payment_id is not null and not i.is_sandbox))"
    " order by c.id limit :limit"
)


class LinkRef(msgspec.Struct, frozen=True, kw_only=True):
    """A bank connection and whose it is."""

    merchant_id: str
    connection_id: str


class ReconciliationLinks:
    """Read only."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def to_reconcile(self, *, after: str, days: int) -> list[LinkRef]:
        """The next connections by id that are in use or had payments in these days; empty at the end."""
        async with transaction(self._engine) as connection:
            values = {"after": after, "age": timedelta(days=days), "limit": LINKS_AT_ONCE}
            found = await connection.execute(_LINKS, values)
            return [msgspec.convert(row, LinkRef) for row in found.mappings()]
