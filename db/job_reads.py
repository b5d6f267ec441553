"""The queue of jobs: what is waiting, retrying, running, in attention or dead, of every kind in one order."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant
from domain.job import Job, JobKind, JobState


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a page asks for; `after` is the last row of the page before (created_at, id)."""

    kinds: list[JobKind] | None = None
    states: list[JobState] | None = None
    is_sandbox: bool | None = None
    after: tuple[datetime, str] | None = None
    limit: int = 20


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first; `has_more` is exact."""

    items: list[Job]
    has_more: bool


class _Branch(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of job as SQL. The table's alias is `t`; `states` are the conditions that a state means.

    `alive` is what every one of them has in common, in the words of the index that finds it; `sandbox` None is a kind
    that has no sandbox.
    """

    table: str
    alive: str
    states: dict[JobState, str]
    object_id: str
    sandbox: str | None = "t.is_sandbox"
    attempts: str = "null::integer"
    last_error: str = "null::text"
    next_attempt_at: str = "null::timestamptz"
    updated_at: str


_BRANCHES: dict[JobKind, _Branch] = {
    JobKind.DELIVERY: _Branch(
        table="deliveries t join events e on e.id = t.event_id",
        alive="t.state <> 'delivered'",
        states={
            JobState.WAITING: "t.state = 'pending' and t.failures = 0",
            JobState.RETRYING: "t.state = 'pending' and t.failures > 0",
            JobState.DEAD: "t.state = 'dead'",
        },
        object_id="e.object_id",
        attempts="t.attempts",
        last_error="t.last_error",
        next_attempt_at="t.next_attempt_at",
        updated_at="greatest(t.created_at, t.replayed_at, (select a.created_at from delivery_attempts a"
        " where a.delivery_id = t.id and a.number = t.attempts))",
    ),
    JobKind.REFUND: _Branch(
        table="refunds t",
        alive="t.state in ('pending', 'processing')",
        states={
            JobState.WAITING: "t.attention is null and t.state = 'pending'",
            JobState.RUNNING: "t.attention is null and t.state = 'processing'",
            JobState.ATTENTION: "t.attention is not null",
        },
        object_id="t.invoice_id",
        attempts="(select count(*)::integer from refund_attempts a where a.refund_id = t.id)",
        last_error="coalesce(t.attention, t.status_reason)",
        updated_at="t.updated_at",
    ),
    JobKind.INVOICE: _Branch(
        table="invoices t",
        alive="t.attention is not null",
        states={JobState.ATTENTION: "true"},
        object_id="t.id",
        last_error="t.attention",
        updated_at="t.updated_at",
    ),
    JobKind.RECONCILIATION: _Branch(
        table="reconciliations t",
        alive="t.state = 'running'",
        states={
            JobState.RUNNING: "t.troubled_at is null",
            JobState.RETRYING: "t.troubled_at is not null",  # the bank is away
        },
        object_id="t.connection_id",
        sandbox=None,
        last_error="t.reason",
        updated_at="greatest(t.created_at, t.troubled_at)",
    ),
    JobKind.REDELIVERY: _Branch(
        table="redeliveries t",
        alive="t.state = 'running'",
        states={JobState.RUNNING: "true"},
        object_id="t.endpoint_id",
        updated_at="t.created_at",
    ),
    JobKind.SUBSCRIPTION: _Branch(
        table="subscriptions t",
        # A bill that the bank's faults hold up; whoever waits for a payer is no job.
        alive="t.standing #> '{open,faults}' is not null",
        states={JobState.RETRYING: "true"},
        object_id="t.id",
        attempts="cast(t.standing #>> '{open,faults}' as integer)",
        last_error="'bank_fault'",
        next_attempt_at="t.next_billing_at",
        updated_at="t.updated_at",
    ),
}


class JobReads:
    """Queries as the application's role; each raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def page(self, merchant_id: str, wanted: JobFilter) -> JobPage:
        """One page by keyset: each kind gives its newest, and they are merged."""
        branches = [sql for kind in JobKind if (sql := _branch(kind, wanted)) is not None]
        if not branches:
            return JobPage(items=[], has_more=False)
        merged = " union all ".join(f"({sql})" for sql in branches)
        listed = text(f"select * from ({merged}) jobs order by created_at desc, id desc limit :limit")
        values: dict[str, Any] = {"merchant": merchant_id, "limit": wanted.limit + 1}
        if wanted.after is not None:
            values |= {"after_time": wanted.after[0], "after_id": wanted.after[1]}
        if wanted.is_sandbox is not None:
            values["is_sandbox"] = wanted.is_sandbox
        used = {name: value for name, value in values.items() if f":{name}" in merged}
        async with as_merchant(self._engine, merchant_id) as connection:
            rows = (await connection.execute(listed, used)).mappings().all()
        items = [msgspec.convert(row, Job) for row in rows[: wanted.limit]]
        return JobPage(items=items, has_more=len(rows) > wanted.limit)


def _branch(kind: JobKind, wanted: JobFilter) -> str | None:
    """The newest jobs of one kind, None where the filter leaves none."""
    branch = _BRANCHES[kind]
    states = [state for state in branch.states if wanted.states is None or state in wanted.states]
    if not states or (wanted.kinds is not None and kind not in wanted.kinds):
        return None
    if branch.sandbox is None and wanted.is_sandbox:
        return None
    conditions = ["t.merchant_id = :merchant", branch.alive]
    if len(states) < len(branch.states):
        conditions.append("(" + " or ".join(f"({branch.states[state]})" for state in states) + ")")
    if wanted.is_sandbox is not None and branch.sandbox is not None:
        conditions.append(f"{branch.sandbox} = :is_sandbox")
    if wanted.after is not None:
        conditions.append("(t.created_at, t.id) < (:after_time, :after_id)")
    state = "case " + " ".join(f"when {what} then '{name}'" for name, what in branch.states.items()) + " end"
    return (
        f"select '{kind}' as kind, t.id, {state} as state, {branch.object_id} as object_id,"
        f" {branch.sandbox or 'false'} as is_sandbox, {branch.attempts} as attempts,"
        f" {branch.last_error} as last_error, {branch.next_attempt_at} as next_attempt_at, t.created_at,"
        f" {branch.updated_at} as updated_at from {branch.table} where {' and '.join(conditions)}"
        " order by t.created_at desc, t.id desc limit :limit"
    )
