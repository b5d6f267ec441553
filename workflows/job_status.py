"""What Temporal knows of the workflows behind a page of jobs."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

# Questions at once of one process: a page of a hundred costs some round trips, and nobody else feels it.
AT_ONCE = 20


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the workflow runs and, while an activity of it is pending, that activity's attempt, the type of its last
    failure, and when it runs next (None: now). A workflow that has not begun yet runs next when it begins.

    Of a failure only the type is told: messages are encrypted, and not all of them are for merchants.
    """

    running: bool
    attempt: int | None = None
    last_failure: str | None = None
    next_attempt_at: datetime | None = None


async def look_at(
    client: Client, workflow_ids: Sequence[str], *, wait: float, slots: asyncio.Semaphore | None = None
) -> dict[str, JobStatus]:
    """What is known after `wait` seconds at most; ids that Temporal gave no answer for are missing.

    `slots` are shared by all who ask this Temporal; waiting for one counts as waiting. By default `AT_ONCE` of its own.
    Failures of Temporal are answers that are missing, whatever they are: what is asked here only adds to the books.
    """
    free = slots or asyncio.Semaphore(AT_ONCE)

    async def ask(workflow_id: str) -> JobStatus:
        async with free:
            return await _look_at(client, workflow_id)

    asked = {workflow_id: asyncio.create_task(ask(workflow_id)) for workflow_id in dict.fromkeys(workflow_ids)}
    if not asked:
        return {}
    try:
        await asyncio.wait(asked.values(), timeout=wait)
    finally:
        for task in asked.values():
            task.cancel()
        ended = await asyncio.gather(*asked.values(), return_exceptions=True)
    found: dict[str, JobStatus] = {}
    for workflow_id, outcome in zip(asked, ended, strict=True):
        if isinstance(outcome, JobStatus):
            found[workflow_id] = outcome
        elif not isinstance(outcome, (RPCError, RuntimeError, asyncio.CancelledError)):
            raise outcome  # a defect of ours
    return found


async def _look_at(client: Client, workflow_id: str) -> JobStatus:
    try:
        described = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:  # never started, or over for longer than Temporal keeps it
            return JobStatus(running=False)
        raise
    return _status(described)


def _status(described: WorkflowExecutionDescription) -> JobStatus:
    if described.status is not WorkflowExecutionStatus.RUNNING:
        return JobStatus(running=False)
    pending = described.raw_description.pending_activities
    if not pending:
        return JobStatus(running=True, next_attempt_at=_delayed_until(described))
    worst = max(pending, key=lambda one: one.attempt)
    waits = worst.HasField("next_attempt_schedule_time")
    return JobStatus(
        running=True,
        attempt=worst.attempt,
        last_failure=_type_of(worst.last_failure) if worst.HasField("last_failure") else None,
        next_attempt_at=worst.next_attempt_schedule_time.ToDatetime(UTC) if waits else None,
    )


def _delayed_until(described: WorkflowExecutionDescription) -> datetime | None:
    """When a workflow that has not begun begins (a delayed start)."""
    begins = described.execution_time
    return begins if begins is not None and begins > datetime.now(UTC) else None


def _type_of(failure: Failure) -> str:
    """`NotDelivered`, `KaspiUnavailable`, … by an error of ours; else what Temporal itself says happened."""
    if failure.HasField("application_failure_info"):
        return failure.application_failure_info.type or "Error"
    if failure.HasField("timeout_failure_info"):
        return "Timeout"
    if failure.HasField("canceled_failure_info"):
        return "Canceled"
    return "Error"
