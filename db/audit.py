"""Writing the audit log: one row for what one transaction did, in that same transaction."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.audit import AuditEntry
from domain.ids import AUDIT, new_id

_FIELDS = (
    "id", "merchant_id", "actor_kind", "actor_id", "action", "object_type", "object_id", "is_sandbox", "before",
    "after", "request_id", "note",
)  # fmt: skip


def insert_from(source: str) -> str:
    """SQL for a CTE that writes the row of `values` once for each row of `source`, another CTE or a table.

    A merchant's chain is locked from here to the commit, so it belongs into the last statement of a transaction.
    """
    given = ", ".join(f":audit_{field}" for field in _FIELDS)
    return f"insert into audit_log ({', '.join(_FIELDS)}) select {given} from {source}"


def values(entry: AuditEntry) -> dict[str, Any]:
    """The parameters that `insert_from` names."""
    fields = {name: getattr(entry, name) for name in _FIELDS if name not in {"id", "actor_kind", "actor_id"}}
    fields |= {"id": new_id(AUDIT), "actor_kind": entry.actor.kind, "actor_id": entry.actor.id}
    return {f"audit_{name}": value for name, value in fields.items()}


_APPEND = text(insert_from("(values (1)) as once"))


async def append(connection: AsyncConnection, *entries: AuditEntry) -> None:
    """Writes what the transaction did, in this order; its last statement, and no row lock after it.

    The merchant's chain is locked until the commit: a row lock taken after it could wait for a transaction that waits
    for the chain.
    """
    for entry in entries:
        await connection.execute(_APPEND, values(entry))
