"""The queue: what of a merchant's is waiting, retrying, running, in attention or dead."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import Parameter, QueryParameter

from api.auth import sees_sandbox_only
from api.services import Services
from api.v1 import paging
from api.v1.choices import chosen, every_wrong
from api.v1.responses import errors
from contracts.times import show_optional
from contracts.v1_jobs import JobEngineJson, JobJson, job
from db.job_reads import JobFilter
from domain.job import JobKind, JobState
from domain.merchant import Principal
from workflows.job_status import JobStatus

# Temporal adds to the list; a Temporal that is away must not hold it up.
PATIENCE_SECONDS = 2.0


class JobPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    items: list[JobJson]
    page_size: int
    has_more: bool
    next_cursor: str | None


@get(
    "/jobs",
    tags=["Jobs"],
    summary="List jobs",
    description="Everything that is waiting, retrying, running, in attention or dead: webhook deliveries, refunds, "
    "invoices, reconciliations, redeliveries, and subscriptions whose bill the bank's faults hold up. A test key sees "
    "sandbox jobs only.",
    operation_id="listJobs",
    responses=errors(400, 401, 503),
)
async def jobs(
    services: Services,
    principal: Principal,
    kinds: Annotated[
        list[str] | None,
        QueryParameter(
            name="kind",
            description="`delivery`, `refund`, `invoice`, `reconciliation`, `redelivery`, `subscription`; repeated or"
            " with commas.",
        ),
    ] = None,
    states: Annotated[
        list[str] | None,
        QueryParameter(
            name="state",
            description="`waiting`, `retrying`, `running`, `attention`, `dead`; repeated or with commas.",
        ),
    ] = None,
    is_sandbox: bool | None = None,
    page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Parameter(description="`next_cursor` of the page before.")] = None,
) -> JobPageJson:
    """GET /v1/jobs."""
    with every_wrong() as read:
        after, _ = read(paging.start, cursor, 1, page_size) or (None, 0)
        wanted = JobFilter(
            kinds=read(chosen, kinds, JobKind, "kind"),
            states=read(chosen, states, JobState, "state"),
            is_sandbox=True if sees_sandbox_only(principal) else is_sandbox,
            after=after,
            limit=page_size,
        )
    found = await services.jobs.page(principal.merchant.id, wanted)
    said = await services.engine.look_at_jobs([one.workflow_id for one in found.items], wait=PATIENCE_SECONDS)
    last = found.items[-1] if found.items and found.has_more else None
    return JobPageJson(
        items=[job(one, _shown(said.get(one.workflow_id))) for one in found.items],
        page_size=page_size,
        has_more=found.has_more,
        next_cursor=None if last is None else paging.cursor(last.created_at, last.id),
    )


def _shown(status: JobStatus | None) -> JobEngineJson | None:
    if status is None:
        return None
    return JobEngineJson(
        running=status.running,
        attempt=status.attempt,
        last_failure=status.last_failure,
        next_attempt_at=show_optional(status.next_attempt_at),
    )
