"""Reconciliations as people read them: pages of runs, pages of lines."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant, transaction
from db.reconciliations import LINE_COLUMNS, RUN_COLUMNS
from domain.reconciliation import LineVerdict
from domain.reconciliation_run import Line, Run

_RUN = text(f"select {RUN_COLUMNS} from reconciliations where id = :id")
_RUNS = text(
    f"select {RUN_COLUMNS} from reconciliations where (cast(:merchant as text) is null or merchant_id = :merchant)"
    " and (cast(:after as timestamptz) is null or (created_at, id) < (:after, :after_id))"
    " order by created_at desc, id desc limit :limit"
)
_LINES = text(
    f"select {LINE_COLUMNS} from reconciliation_lines where reconciliation_id = :id and number > :after"
    " and (cast(:verdict as text) is null or verdict = :verdict) order by number limit :limit"
)


class LineFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines, after which number."""

    verdict: LineVerdict | None = None
    after: int = 0
    limit: int = 20


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    items: list[Run]
    has_more: bool


class LinePage(msgspec.Struct, frozen=True, kw_only=True):
    """In the order in which they were found."""

    items: list[Line]
    has_more: bool


class ReconciliationReads:
    """One merchant's, as the application's role."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def run(self, merchant_id: str, run_id: str) -> Run | None:
        """One reconciliation of this merchant."""
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_RUN, {"id": run_id})).mappings().one_or_none()
        return None if row is None else msgspec.convert(row, Run)

    async def runs(self, merchant_id: str, *, after: tuple[datetime, str] | None, limit: int) -> RunPage:
        """This merchant's, newest first."""
        values = {"merchant": merchant_id, "limit": limit + 1}
        values |= {"after": after[0] if after else None, "after_id": after[1] if after else ""}
        async with as_merchant(self._engine, merchant_id) as connection:
            rows = (await connection.execute(_RUNS, values)).mappings().all()
        return RunPage(items=[msgspec.convert(row, Run) for row in rows[:limit]], has_more=len(rows) > limit)

    async def lines(self, merchant_id: str, run_id: str, wanted: LineFilter) -> LinePage:
        """What did not match; empty for a run of somebody else."""
        values = {"id": run_id, "verdict": wanted.verdict, "after": wanted.after, "limit": wanted.limit + 1}
        async with as_merchant(self._engine, merchant_id) as connection:
            rows = (await connection.execute(_LINES, values)).mappings().all()
        items = [msgspec.convert(row, Line) for row in rows[: wanted.limit]]
        return LinePage(items=items, has_more=len(rows) > wanted.limit)


class EveryReconciliation:
    """Over every merchant; needs the operator role's engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def runs(self, merchant_id: str | None, *, limit: int = 100) -> list[Run]:
        """The newest, of one merchant or of all."""
        async with transaction(self._engine) as connection:
            values = {"merchant": merchant_id, "after": None, "after_id": "", "limit": limit}
            return [msgspec.convert(row, Run) for row in (await connection.execute(_RUNS, values)).mappings()]

    async def run(self, run_id: str) -> Run | None:
        """One reconciliation of any merchant."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_RUN, {"id": run_id})).mappings().one_or_none()
        return None if row is None else msgspec.convert(row, Run)

    async def lines(self, run_id: str, verdict: LineVerdict | None, *, limit: int = 10_000) -> list[Line]:
        """What did not match."""
        async with transaction(self._engine) as connection:
            values = {"id": run_id, "verdict": verdict, "after": 0, "limit": limit}
            return [msgspec.convert(row, Line) for row in (await connection.execute(_LINES, values)).mappings()]
