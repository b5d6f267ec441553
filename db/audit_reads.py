"""Reading the audit log: pages for one merchant, whole chains for operators."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant, transaction
from domain.audit import AuditRow
from domain.audit_chain import Head

COUNT_CAP = 10_000
# Rows of a chain in memory at once; a row has a few hundred bytes.
CHAIN_STEP = 2_000

_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(AuditRow))
# By position and id, not by position alone: where somebody removed the unique index, doubled positions must show.
_CHAIN = text(
    f"select {_COLUMNS} from audit_log where merchant_id = :merchant and (position, id) > (:position, :id)"
    " order by position, id limit :limit"
)
# Every merchant of whom a chain can be expected, and every name that stands in the log.
_CHAINS = text(
    "select id from merchants where cast(:merchant as text) is null or id = :merchant"
    " union select distinct merchant_id from audit_log where cast(:merchant as text) is null or merchant_id = :merchant"
    " order by 1"
)
_HEAD = text(
    "select merchant_id, position, encode(hash, 'hex') as hash, created_at from audit_log"
    " where merchant_id = :merchant order by position desc limit 1"
)

_LATEST = text(
    f"select {_COLUMNS} from audit_log where (cast(:merchant as text) is null or merchant_id = :merchant)"
    " and (cast(:object as text) is null or object_id = :object) order by created_at desc, position desc limit :limit"
)


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for; `before` is the position of the last row of the page before."""

    object_id: str | None = None
    object_type: str | None = None
    action: str | None = None
    actor_id: str | None = None
    is_sandbox: bool | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None
    before: int | None = None
    offset: int = 0
    limit: int = 20


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to `COUNT_CAP`; `has_more` is always exact."""

    items: list[AuditRow]
    total: int
    has_more: bool


class AuditReads:
    """One merchant's rows, as the application's role."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def page(self, merchant_id: str, wanted: AuditFilter) -> AuditPage:
        """One page, by keyset when `before` is given, by a bounded offset otherwise."""
        where, values = _conditions(merchant_id, wanted)
        keyset = "" if wanted.before is None else " and position < :before"
        listed = text(
            f"select {_COLUMNS} from audit_log where {where}{keyset} order by position desc limit :limit offset :offset"
        )
        counted = text(f"select count(*) from (select 1 from audit_log where {where} limit {COUNT_CAP}) c")
        place = {"limit": wanted.limit + 1, "offset": wanted.offset}
        if wanted.before is not None:
            place["before"] = wanted.before
        async with as_merchant(self._engine, merchant_id) as connection:
            rows = (await connection.execute(listed, values | place)).mappings().all()
            total = (await connection.execute(counted, values)).scalar_one()
        return AuditPage(
            items=[_row(row) for row in rows[: wanted.limit]], total=total, has_more=len(rows) > wanted.limit
        )


class AuditChains:
    """Every merchant's chain; needs the operator role's engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def merchants(self, merchant_id: str | None = None) -> list[str]:
        """Whose chains there are, or should be; only `merchant_id` where it is given."""
        async with transaction(self._engine) as connection:
            return list((await connection.execute(_CHAINS, {"merchant": merchant_id})).scalars())

    async def latest(self, merchant_id: str | None, object_id: str | None, *, limit: int) -> list[AuditRow]:
        """The last rows of one merchant or all, about one object or all, newest first."""
        values = {"merchant": merchant_id, "object": object_id, "limit": limit}
        async with transaction(self._engine) as connection:
            return [_row(row) for row in (await connection.execute(_LATEST, values)).mappings()]

    async def head(self, merchant_id: str) -> Head | None:
        """The last row of a chain, None for an empty one."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_HEAD, {"merchant": merchant_id})).mappings().one_or_none()
        return None if row is None else msgspec.convert(row, Head)

    async def rows(self, merchant_id: str) -> AsyncIterator[AuditRow]:
        """A whole chain in the order of its positions, read in steps; what is appended meanwhile is read too.

        Rows are given as they stand: they may have been tampered with, so their words are not checked.
        """
        position, id_ = -(2**63), ""
        while True:
            values = {"merchant": merchant_id, "position": position, "id": id_, "limit": CHAIN_STEP}
            async with transaction(self._engine) as connection:
                found = (await connection.execute(_CHAIN, values)).mappings().all()
            for row in found:
                yield AuditRow(**row)
            if len(found) < CHAIN_STEP:
                return
            position, id_ = found[-1]["position"], found[-1]["id"]


def _row(row: RowMapping) -> AuditRow:
    return msgspec.convert(row, AuditRow)


def _conditions(merchant_id: str, wanted: AuditFilter) -> tuple[str, dict[str, Any]]:
    parts, values = ["merchant_id = :merchant"], dict[str, Any]({"merchant": merchant_id})
    for name in ("object_id", "object_type", "action", "actor_id", "is_sandbox"):
        value = getattr(wanted, name)
        if value is not None:
            parts.append(f"{name} = :{name}")
            values[name] = value
    if wanted.date_from is not None:
        parts.append("created_at >= :date_from")
        values["date_from"] = wanted.date_from
    if wanted.date_to is not None:
        parts.append("created_at < :date_to")
        values["date_to"] = wanted.date_to
    return " and ".join(parts), values
