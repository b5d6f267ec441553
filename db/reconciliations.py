"""Reconciliations as records: opened once, walked batch by batch, listed."""

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import audit
from db.engine import as_merchant
from db.errors import Overtaken, ReconciliationRuns
from db.kept_answers import KeyedAnswer, keep_answer
from domain.audit import Actor, ActorKind, AuditEntry
from domain.reconciliation_run import Batch, Line, NewRun, Place, Run, RunState, Source, Totals, Trigger, added
from domain.statement import StatementRow

RUN_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Run))
LINE_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Line))
# A statement of 100,000 rows in one piece would come near to the database's time limit.
ROWS_AT_ONCE = 10_000
_ACTORS = {Trigger.API: ActorKind.KEY, Trigger.CLI: ActorKind.OPERATOR, Trigger.SCHEDULE: ActorKind.WORKFLOW}

_RUN = text(f"select {RUN_COLUMNS} from reconciliations where merchant_id = :merchant and id = :id")
_RUNNING = text(
    f"select {RUN_COLUMNS} from reconciliations"
    " where merchant_id = :merchant and connection_id = :connection and state = 'running'"
)
_OPEN = text(
    "insert into reconciliations (id, merchant_id, connection_id, trigger, asked_by, period_from, period_to,"
    " statement_rows, created_at)"
    " values (:id, :merchant, :connection, :trigger, :asked_by, :period_from, :period_to, :rows, :created_at)"
    f" on conflict (id) do nothing returning {RUN_COLUMNS}"
)
_ROWS = text(
    "insert into statement_lines (reconciliation_id, number, merchant_id, happened_at, operation, bank_payment_id,"
    " amount, reference)"
    " select :id, s.number, :merchant, s.happened_at, s.operation, s.payment, s.amount, s.reference"
    " from unnest(cast(:numbers as int[]), cast(:moments as timestamptz[]), cast(:operations as text[]),"
    "   cast(:payments as bigint[]), cast(:amounts as bigint[]), cast(:references as text[]))"
    "   as s(number, happened_at, operation, payment, amount, reference)"
)
_LOCKED = text(
    "select place, last_line, totals from reconciliations"
    " where merchant_id = :merchant and id = :id and state = 'running' for update"
)
_NOTE = text(
    f"insert into reconciliation_lines (reconciliation_id, merchant_id, {LINE_COLUMNS})"
    f" values (:id, :merchant, {', '.join(':' + field for field in Line.__struct_fields__)})"
    " on conflict on constraint uq_reconciliation_lines_payment do update set verdict = excluded.verdict,"
    "   detail = excluded.detail, action = excluded.action, our_state = excluded.our_state,"
    "   our_refunded = excluded.our_refunded, bank_word = excluded.bank_word, bank_amount = excluded.bank_amount,"
    "   bank_refunded = excluded.bank_refunded, suggested_invoice_id = excluded.suggested_invoice_id"
)
_NOTED = text(
    f"select {LINE_COLUMNS} from reconciliation_lines where merchant_id = :merchant and reconciliation_id = :id"
    " and source = :source and bank_payment_id = any(:payments)"
)
_PROGRESS = text(
    "update reconciliations set place = cast(:place as jsonb), totals = cast(:totals as jsonb), last_line = :last_line,"
    " troubled_at = null where merchant_id = :merchant and id = :id"
)
_LAST_LINE = text("update reconciliations set last_line = :last_line where merchant_id = :merchant and id = :id")
_TROUBLED = text(
    "update reconciliations set troubled_at = coalesce(troubled_at, now())"
    " where merchant_id = :merchant and id = :id and state = 'running'"
    " returning extract(epoch from now() - troubled_at)"
)
_FINISH = text(
    "update reconciliations set state = :state, reason = :reason, finished_at = now()"
    " where merchant_id = :merchant and id = :id and state = 'running'"
)


class Reconciliations:
    """Writes as the application's role; `open` also as the operator's."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def open(self, new: NewRun, rows: list[StatementRow] | None, keyed: KeyedAnswer | None = None) -> Run:
        """Records the run with its statement, whole or not at all; the same id again gives what stands.

        `ReconciliationRuns` names the one of this connection that is not over yet.
        """
        try:
            async with as_merchant(self._engine, new.merchant_id) as connection:
                return await _open(connection, new, rows, keyed)
        except IntegrityError as error:
            if "uq_reconciliations_merchant_id_connection_id_running" not in str(error.orig):
                raise
        async with as_merchant(self._engine, new.merchant_id) as connection:
            values = {"merchant": new.merchant_id, "connection": new.connection_id}
            row = (await connection.execute(_RUNNING, values)).mappings().one_or_none()
        if row is None:
            return await self.open(new, rows, keyed)  # it ended meanwhile
        raise ReconciliationRuns(row["id"])

    async def run(self, merchant_id: str, run_id: str) -> Run | None:
        """One reconciliation."""
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_RUN, {"merchant": merchant_id, "id": run_id})).mappings().one_or_none()
        return None if row is None else msgspec.convert(row, Run)

    async def noted(self, run: Run, source: Source, payments: list[int]) -> dict[int, Line]:
        """Lines of these payments that stand already: a batch that was cut off noted them before it acted."""
        values: dict[str, object] = {"merchant": run.merchant_id, "id": run.id, "source": source, "payments": payments}
        async with as_merchant(self._engine, run.merchant_id) as connection:
            found = (await connection.execute(_NOTED, values)).mappings().all()
        lines = [msgspec.convert(row, Line) for row in found]
        return {line.bank_payment_id: line for line in lines}

    async def note(self, run: Run, lines: list[Line]) -> None:
        """Writes what was found before anything is done about it: what is repaired would not be found again.

        `Overtaken` where `run.place` is not the place any more: a note must not undo the line of a written batch.
        """
        if not lines:
            return
        async with as_merchant(self._engine, run.merchant_id) as connection:
            stands = await _standing(connection, run)
            last = await _write_lines(connection, run, lines, stands.last_line)
            await connection.execute(_LAST_LINE, {"merchant": run.merchant_id, "id": run.id, "last_line": last})

    async def commit(self, run: Run, batch: Batch, after: Place) -> None:
        """Writes the batch behind `run.place` and the next place, once; `Overtaken` where somebody else was faster."""
        async with as_merchant(self._engine, run.merchant_id) as connection:
            stands = await _standing(connection, run)
            last = await _write_lines(connection, run, batch.lines, stands.last_line)
            values = {
                "merchant": run.merchant_id,
                "id": run.id,
                "place": msgspec.json.encode(after).decode(),
                "totals": msgspec.json.encode(added(stands.totals, batch)).decode(),
                "last_line": last,
            }
            await connection.execute(_PROGRESS, values)

    async def troubled(self, run: Run) -> float:
        """Notes that the bank does not answer; for how many seconds without a batch in between."""
        async with as_merchant(self._engine, run.merchant_id) as connection:
            found = await connection.execute(_TROUBLED, {"merchant": run.merchant_id, "id": run.id})
            return float(found.scalar_one_or_none() or 0)

    async def finish(self, run: Run, state: RunState, reason: str | None = None) -> None:
        """Ends the run; nothing happens to one that has ended."""
        values = {"merchant": run.merchant_id, "id": run.id, "state": state, "reason": reason}
        async with as_merchant(self._engine, run.merchant_id) as connection:
            ended = (await connection.execute(_FINISH, values)).rowcount
            if ended:
                await audit.append(connection, _entry(run, f"reconciliation.{state}", "running", state))


class _Standing(msgspec.Struct, frozen=True):
    place: Place
    last_line: int
    totals: Totals


async def _standing(connection: AsyncConnection, run: Run) -> _Standing:
    """Locked until the transaction ends; `Overtaken` where the run is over or `run.place` is not its place any more."""
    values = {"merchant": run.merchant_id, "id": run.id}
    row = (await connection.execute(_LOCKED, values)).mappings().one_or_none()
    stands = None if row is None else msgspec.convert(row, _Standing)
    if stands is None or stands.place != run.place:
        raise Overtaken("this batch is written")
    return stands


async def _open(
    connection: AsyncConnection, new: NewRun, rows: list[StatementRow] | None, keyed: KeyedAnswer | None
) -> Run:
    values = {
        "id": new.id,
        "merchant": new.merchant_id,
        "connection": new.connection_id,
        "trigger": new.trigger,
        "asked_by": new.asked_by,
        "period_from": new.period_from,
        "period_to": new.period_to,
        "rows": None if rows is None else len(rows),
        "created_at": new.created_at,
    }
    row = (await connection.execute(_OPEN, values)).mappings().one_or_none()
    if row is None:
        found = await connection.execute(_RUN, {"merchant": new.merchant_id, "id": new.id})
        return msgspec.convert(found.mappings().one(), Run)
    run = msgspec.convert(row, Run)
    for begin in range(0, len(rows or []), ROWS_AT_ONCE):
        some = (rows or [])[begin : begin + ROWS_AT_ONCE]
        await connection.execute(_ROWS, {"id": new.id, "merchant": new.merchant_id} | _columns(some))
    if keyed is not None:
        await keep_answer(connection, new.merchant_id, new.id, keyed)
    await audit.append(connection, _entry(run, "reconciliation.created", None, run.state, new.request_id))
    return run


def _columns(rows: list[StatementRow]) -> dict[str, object]:
    return {
        "numbers": [row.number for row in rows],
        "moments": [row.happened_at for row in rows],
        "operations": [row.operation for row in rows],
        "payments": [row.bank_payment_id for row in rows],
        "amounts": [row.amount for row in rows],
        "references": [row.reference for row in rows],
    }


async def _write_lines(connection: AsyncConnection, run: Run, lines: list[Line], last: int) -> int:
    """The number of the run's last line afterwards; a payment that has a line keeps its number."""
    if not lines:
        return last
    given = [
        {"id": run.id, "merchant": run.merchant_id} | msgspec.structs.asdict(line) | {"number": last + place}
        for place, line in enumerate(lines, 1)
    ]
    await connection.execute(_NOTE, given)
    return last + len(lines)


def _entry(run: Run, action: str, before: str | None, after: str, request_id: str | None = None) -> AuditEntry:
    opened = before is None
    actor = Actor(kind=_ACTORS[run.trigger], id=run.asked_by)
    return AuditEntry(
        merchant_id=run.merchant_id,
        actor=actor if opened else Actor(kind=ActorKind.WORKFLOW, id=f"reconciliation-{run.id}"),
        action=action,
        object_type="reconciliation",
        object_id=run.id,
        is_sandbox=False,
        before=before,
        after=after,
        request_id=request_id,
    )
