"""The audit log: who did what to which object."""

from datetime import date
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import Parameter

from api.auth import sees_sandbox_only
from api.services import Services
from api.v1 import days, paging
from api.v1.choices import every_wrong
from api.v1.responses import errors
from contracts.v1_audit import AuditLogJson, audit_log
from db.audit_reads import AuditFilter
from domain.merchant import Principal


class AuditLogPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to 10 000; page on with `next_cursor` beyond that."""

    items: list[AuditLogJson]
    page: int
    page_size: int
    total: int
    has_more: bool
    next_cursor: str | None


@get(
    "/audit-logs",
    tags=["Audit log"],
    summary="List the audit log",
    description="Who did what to which object. The rows of a merchant are a hash chain: position by position, each "
    "`previous_hash` is the `hash` of the row before. A test key sees the rows of sandbox objects only.",
    operation_id="listAuditLogs",
    responses=errors(400, 401, 503),
)
async def audit_logs(
    services: Services,
    principal: Principal,
    page: Annotated[int, Parameter(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
    object_id: Annotated[str | None, Parameter(max_length=100, description="Of an invoice, refund, key, …")] = None,
    object_type: Annotated[
        str | None,
        Parameter(max_length=50, description="`invoice`, `refund`, `merchant`, `api_key`, `connection`, …"),
    ] = None,
    action: Annotated[str | None, Parameter(max_length=100, description="For example `invoice.paid`.")] = None,
    actor: Annotated[
        str | None, Parameter(max_length=200, description="The id of a key or a workflow, or an operator's name.")
    ] = None,
    is_sandbox: bool | None = None,
    date_from: Annotated[date | None, Parameter(description="First day (Asia/Almaty), inclusive.")] = None,
    date_to: Annotated[date | None, Parameter(description="Last day (Asia/Almaty), inclusive.")] = None,
    cursor: Annotated[str | None, Parameter(description="`next_cursor` of the page before; instead of `page`.")] = None,
) -> AuditLogPageJson:
    """GET /v1/audit-logs."""
    with every_wrong() as read:
        before, offset = read(paging.start_by_place, cursor, page, page_size) or (None, 0)
        wanted = AuditFilter(
            object_id=read(paging.clean, object_id, "object_id"),
            object_type=read(paging.clean, object_type, "object_type"),
            action=read(paging.clean, action, "action"),
            actor_id=read(paging.clean, actor, "actor"),
            is_sandbox=True if sees_sandbox_only(principal) else is_sandbox,
            date_from=read(days.first_moment, date_from, "date_from"),
            date_to=read(days.moment_after, date_to, "date_to"),
            before=before,
            offset=offset,
            limit=page_size,
        )
    found = await services.audit.page(principal.merchant.id, wanted)
    last = found.items[-1] if found.items and found.has_more else None
    return AuditLogPageJson(
        items=[audit_log(item) for item in found.items],
        page=page,
        page_size=page_size,
        total=found.total,
        has_more=found.has_more,
        next_cursor=None if last is None else paging.place(last.position),
    )
