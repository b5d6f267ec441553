"""Reconciliations: start one, read what it found."""

import asyncio
from datetime import date
from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Controller, MediaType, Request, Response, get, post
from litestar.params import Parameter
from msgspec import Meta

from activities.reconciling import Reconcile
from api import idempotency
from api.auth import sees_sandbox_only
from api.bodies import JsonBody, RequestBody, Rule
from api.optional_body import BodyOptional
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import days, fields, paging
from api.v1.responses import errors
from contracts import v1_reconciliation as v1
from contracts.v1_reconciliation import ReconciliationJson, ReconciliationLineJson
from db.errors import ReconciliationRuns
from db.kept_answers import KeyedAnswer
from db.reconciliation_reads import LineFilter
from domain.errors import Code, FieldError, TolemError, invalid
from domain.ids import RECONCILIATION, derived_id, new_id
from domain.merchant import Mode, Principal
from domain.reconciliation import LineVerdict
from domain.reconciliation_run import NewRun, Run, RunState, Trigger, compared_period
from domain.statement import BadStatement, StatementRow, period_of, read_statement

OPERATION = "reconciliations"
MAX_STATEMENT_BYTES = 8 * 1024 * 1024
# Wrong lines named in one answer; the rest is counted.
MAX_WRONG_LINES = 100


def _day(value: str) -> date:
    return date.fromisoformat(value)


class ReconciliationCreate(RequestBody):
    """What to compare; by default the last days with the bank alone, or a statement's own time."""

    RULES: ClassVar[dict[str, Rule]] = {"date_from": _day, "date_to": _day}

    date_from: (
        Annotated[str, Meta(description="First day (Asia/Almaty), inclusive.", examples=["2026-11-20"], max_length=10)]
        | None
    ) = None
    date_to: (
        Annotated[str, Meta(description="Last day (Asia/Almaty), inclusive.", examples=["2026-11-22"], max_length=10)]
        | None
    ) = None
    statement: (
        Annotated[str, Meta(description="A statement as CSV text: date_time, operation, payment_id, amount, comment.")]
        | None
    ) = None


class ReconciliationPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    items: list[ReconciliationJson]
    has_more: bool
    next_cursor: str | None


class ReconciliationLinePageJson(msgspec.Struct, frozen=True, kw_only=True):
    """In the order in which they were found. What matched is counted in the totals and has no line."""

    items: list[ReconciliationLineJson]
    has_more: bool
    next_cursor: str | None


class ReconciliationController(Controller):
    """`/api/v1/reconciliations`."""

    path = "/reconciliations"
    tags = ["Reconciliation"]  # noqa: RUF012 -- Litestar's way

    @post(
        dto=JsonBody[ReconciliationCreate],
        return_dto=None,
        summary="Start a reconciliation",
        description="Compares the live payments of the merchant's Kaspi connection with the bank, and with a statement "
        "where one is given. Live keys only; one runs at a time. It moves no money.",
        operation_id="createReconciliation",
        operation_class=BodyOptional,
        request_max_body_size=MAX_STATEMENT_BYTES,
        responses=errors(400, 401, 403, 409, 422, 503, created=ReconciliationJson),
    )
    async def create(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        data: ReconciliationCreate | None = None,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/reconciliations."""
        if sees_sandbox_only(principal):
            raise TolemError(Code.FORBIDDEN_MODE)
        asked = data or ReconciliationCreate()
        key = idempotency.checked(idempotency_key)
        body = (asked.date_from, asked.date_to, asked.statement)
        fingerprint = idempotency.fingerprint(principal.id_salt, OPERATION, *body)
        replayed = await _replayed(services, principal, key, fingerprint)
        if replayed is not None:
            return replayed
        rows = await _rows(asked.statement)
        new = _new(services, principal, asked, rows, key, request_id_of(request.scope))
        answer = msgspec.json.encode(v1.reconciliation(_as_opened(new, rows)))
        keyed = key and KeyedAnswer(
            mode=Mode.LIVE, operation=OPERATION, key=key, fingerprint=fingerprint, status=201, body=answer
        )
        try:
            await services.reconciliation_records.open(new, rows, keyed or None)
        except ReconciliationRuns as running:
            await _run(services, principal, running.run_id)  # it may have lost its workflow
            raise TolemError(Code.RECONCILIATION_RUNNING, details={"reconciliation_id": running.run_id}) from running
        await _run(services, principal, new.id)
        raced = await _replayed(services, principal, key, fingerprint)
        if raced is not None and raced.content != answer:
            return raced  # the same key at the same time: the other request has opened it
        location = {"Location": f"/api/v1/reconciliations/{new.id}"}
        return Response(answer, status_code=201, media_type=MediaType.JSON, headers=location)

    @get(summary="List reconciliations", operation_id="listReconciliations", responses=errors(400, 401, 503))
    async def list_(
        self,
        services: Services,
        principal: Principal,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        cursor: Annotated[str | None, Parameter(description="`next_cursor` of the page before.")] = None,
    ) -> ReconciliationPageJson:
        """GET /v1/reconciliations."""
        after, _ = paging.start(cursor, 1, page_size)
        if sees_sandbox_only(principal):
            return ReconciliationPageJson(items=[], has_more=False, next_cursor=None)
        found = await services.reconciliations.runs(principal.merchant.id, after=after, limit=page_size)
        last = found.items[-1] if found.has_more else None
        return ReconciliationPageJson(
            items=[v1.reconciliation(run) for run in found.items],
            has_more=found.has_more,
            next_cursor=None if last is None else paging.cursor(last.created_at, last.id),
        )

    @get(
        "/{reconciliation_id:str}",
        summary="Get a reconciliation",
        operation_id="getReconciliation",
        responses=errors(400, 401, 404, 503),
    )
    async def read(self, services: Services, principal: Principal, reconciliation_id: str) -> ReconciliationJson:
        """GET /v1/reconciliations/{id}."""
        return v1.reconciliation(await _visible(services, principal, reconciliation_id))

    @get(
        "/{reconciliation_id:str}/lines",
        summary="List what did not match",
        operation_id="listReconciliationLines",
        responses=errors(400, 401, 404, 503),
    )
    async def lines(
        self,
        services: Services,
        principal: Principal,
        reconciliation_id: str,
        verdict: LineVerdict | None = None,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        cursor: Annotated[str | None, Parameter(description="`next_cursor` of the page before.")] = None,
    ) -> ReconciliationLinePageJson:
        """GET /v1/reconciliations/{id}/lines."""
        run = await _visible(services, principal, reconciliation_id)
        after, _ = paging.start_by_place(cursor, 1, page_size)
        if after is not None and after >= 2**31:
            raise fields.wrong("cursor", "Is not a cursor of this API.")
        wanted = LineFilter(verdict=verdict, after=after or 0, limit=page_size)
        found = await services.reconciliations.lines(principal.merchant.id, run.id, wanted)
        return ReconciliationLinePageJson(
            items=[v1.line(one) for one in found.items],
            has_more=found.has_more,
            next_cursor=paging.place(found.items[-1].number) if found.has_more else None,
        )


async def _replayed(
    services: Services, principal: Principal, key: str | None, fingerprint: str
) -> Response[Any] | None:
    if key is None:
        return None
    kept = await services.reads.kept_answer(principal.merchant.id, Mode.LIVE, OPERATION, key)
    answer = idempotency.replay(kept, fingerprint) if kept else None
    if kept is not None and answer is not None:
        await _run(services, principal, kept.resource_id)
    return answer


async def _rows(statement: str | None) -> list[StatementRow] | None:
    if statement is None:
        return None
    try:
        return await asyncio.to_thread(read_statement, statement)
    except BadStatement as bad:
        named = [FieldError(f"statement.{one.number}", "invalid", one.reason) for one in bad.wrong[:MAX_WRONG_LINES]]
        more = len(bad.wrong) - len(named)
        if more:
            named.append(FieldError("statement", "invalid", f"{more} more wrong lines."))
        raise invalid(*named) from bad


def _new(
    services: Services,
    principal: Principal,
    asked: ReconciliationCreate,
    rows: list[StatementRow] | None,
    key: str | None,
    request_id: str,
) -> NewRun:
    if principal.connection_id is None:
        raise TolemError(Code.KASPI_NOT_CONNECTED)
    first = days.first_moment(_day(asked.date_from), "date_from") if asked.date_from else None
    end = days.moment_after(_day(asked.date_to), "date_to") if asked.date_to else None
    period = compared_period(
        principal.database_now,
        services.reconciliation.days,
        given=(first, end),
        statement=period_of(rows) if rows else None,
    )
    if period is None:
        raise fields.wrong("date_to", "The period must end after it begins, and last a year at most.")
    run_id = new_id(RECONCILIATION)
    if key is not None:
        run_id = derived_id(RECONCILIATION, principal.id_salt, principal.merchant.id, Mode.LIVE, OPERATION, key)
    return NewRun(
        id=run_id,
        merchant_id=principal.merchant.id,
        connection_id=principal.connection_id,
        trigger=Trigger.API,
        asked_by=principal.key_id,
        period_from=period[0],
        period_to=period[1],
        created_at=principal.database_now,
        request_id=request_id,
    )


def _as_opened(new: NewRun, rows: list[StatementRow] | None) -> Run:
    return Run(
        id=new.id,
        merchant_id=new.merchant_id,
        connection_id=new.connection_id,
        trigger=new.trigger,
        asked_by=new.asked_by,
        period_from=new.period_from,
        period_to=new.period_to,
        state=RunState.RUNNING,
        created_at=new.created_at,
        statement_rows=None if rows is None else len(rows),
    )


async def _run(services: Services, principal: Principal, run_id: str) -> None:
    await services.engine.reconcile(Reconcile(merchant_id=principal.merchant.id, reconciliation_id=run_id))


async def _visible(services: Services, principal: Principal, run_id: str) -> Run:
    if sees_sandbox_only(principal) or "\x00" in run_id:
        raise TolemError(Code.NOT_FOUND)
    found = await services.reconciliations.run(principal.merchant.id, run_id)
    if found is None:
        raise TolemError(Code.NOT_FOUND)
    return found
