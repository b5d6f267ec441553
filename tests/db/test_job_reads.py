"""The queue of jobs: every kind in one order, exactly what is not over, and nobody else's."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from db.engine import as_merchant
from db.job_reads import JobFilter, JobReads
from domain.event import AttemptOutcome
from domain.ids import RECONCILIATION, REDELIVERY, new_id
from domain.invoice import Attention, State
from domain.job import Job, JobKind, JobState
from domain.refund import RefundAttention, RefundState
from domain.subscription import ChargeFaulted, ChargeRef, TimeReached
from tests.db.books import Books, Shop
from tests.db.test_delivery_reads import Log
from tests.support.subscriptions import START, Subscriber

_RECONCILIATION = text(
    "insert into reconciliations (id, merchant_id, connection_id, trigger, asked_by, period_from, period_to, state,"
    " finished_at, troubled_at) values (:id, :merchant, :connection, 'api', 'key_1', now() - interval '1 day', now(),"
    " :state, case when :state = 'running' then null else now() end, cast(:troubled as timestamptz))"
)
_REDELIVERY = text(
    "insert into redeliveries (id, merchant_id, endpoint_id, is_sandbox, kind, since, until, asked_by, state,"
    " finished_at) values (:id, :merchant, :endpoint, :sandbox, 'all', now() - interval '1 day', now(), 'key_1',"
    " :state, case when :state = 'running' then null else now() end)"
)


async def reconciliation(shop: Shop, state: str = "running", troubled: datetime | None = None) -> str:
    values = {"id": new_id(RECONCILIATION), "merchant": shop.id, "connection": shop.connection_id}
    async with as_merchant(shop.books.app, shop.id) as connection:
        await connection.execute(_RECONCILIATION, values | {"state": state, "troubled": troubled})
    return values["id"]


async def redelivery(shop: Shop, endpoint: str, state: str = "running", *, sandbox: bool = False) -> str:
    values = {"id": new_id(REDELIVERY), "merchant": shop.id, "endpoint": endpoint}
    async with as_merchant(shop.books.app, shop.id) as connection:
        await connection.execute(_REDELIVERY, values | {"state": state, "sandbox": sandbox})
    return values["id"]


async def fill(shop: Shop) -> Log:
    """Work of every kind and state, with what is over beside it."""
    log = Log(shop)
    await log.fill(40)
    chance = random.Random(7)
    for number in range(8):
        sandbox = number % 2 == 0
        invoice = await shop.paid(sandbox=sandbox)
        states = (RefundState.PENDING, RefundState.PROCESSING, RefundState.COMPLETED, RefundState.FAILED)
        refund = await shop.refund(invoice, 100, to=states[number % 4])
        if number == 5:
            await shop.book_refund(refund.id, "lost", attention=RefundAttention.OUTCOME_UNKNOWN)
        if chance.random() < 0.5:
            await shop.book(invoice.id, "late", attention=Attention.PAID_LATE)
    await reconciliation(shop)
    await reconciliation(shop, "completed")
    for state in ("running", "completed"):
        await redelivery(shop, log.endpoints[0], state)
        await redelivery(shop, log.endpoints[2], state, sandbox=True)
    subscriber = Subscriber(shop)
    for number in range(4):
        one = await subscriber.open(sandbox=number % 2 == 0)
        await subscriber.happen(one.id, TimeReached(), START)
        if number > 0:
            await subscriber.happen(one.id, ChargeFaulted(ref=ChargeRef(number=1, charge=1)), START)
    return log


async def judged(shop: Shop) -> list[tuple[Any, ...]]:
    """(created_at, id, kind, state, is_sandbox) of every job, by a plain look at every row; newest first."""
    found: list[tuple[Any, ...]] = []

    async def rows(table: str) -> list[dict[str, Any]]:
        return await shop.books.fetch(f"select * from {table} where merchant_id = :m", m=shop.id)  # noqa: S608 -- a test

    sandbox = {row["id"]: row["is_sandbox"] for row in await rows("webhook_endpoints")}
    for row in await rows("deliveries"):
        if row["state"] != "delivered":
            state = "dead" if row["state"] == "dead" else ("retrying" if row["failures"] else "waiting")
            found.append((row["created_at"], row["id"], "delivery", state, sandbox[row["endpoint_id"]]))
    for row in await rows("refunds"):
        if row["state"] in {"pending", "processing"}:
            state = "attention" if row["attention"] else {"pending": "waiting", "processing": "running"}[row["state"]]
            found.append((row["created_at"], row["id"], "refund", state, row["is_sandbox"]))
    found += [
        (row["created_at"], row["id"], "invoice", "attention", row["is_sandbox"])
        for row in await rows("invoices")
        if row["attention"]
    ]
    for row in await rows("reconciliations"):
        if row["state"] == "running":
            state = "retrying" if row["troubled_at"] else "running"
            found.append((row["created_at"], row["id"], "reconciliation", state, False))
    found += [
        (row["created_at"], row["id"], "redelivery", "running", row["is_sandbox"])
        for row in await rows("redeliveries")
        if row["state"] == "running"
    ]
    for row in await rows("subscriptions"):
        standing = msgspec.json.decode(row["standing"]) if isinstance(row["standing"], str) else row["standing"]
        if (standing.get("open") or {}).get("faults"):
            found.append((row["created_at"], row["id"], "subscription", "retrying", row["is_sandbox"]))
    return sorted(found, reverse=True)


def shown(job: Job) -> tuple[Any, ...]:
    return job.created_at, job.id, job.kind.value, job.state.value, job.is_sandbox


async def walk(reads: JobReads, merchant_id: str, limit: int, **wanted: Any) -> list[Job]:
    found: list[Job] = []
    after = None
    while True:
        page = await reads.page(merchant_id, JobFilter(limit=limit, after=after, **wanted))
        found += page.items
        if not page.has_more:
            return found
        assert len(page.items) == limit
        after = (page.items[-1].created_at, page.items[-1].id)


@pytest.fixture(scope="module")
def reads(books: Books) -> JobReads:
    return JobReads(books.app)


@pytest.fixture(scope="module")
async def busy(books: Books) -> Shop:
    shop = await books.merchant()
    await fill(shop)
    await fill(await books.merchant())  # whose work nobody may see
    return shop


@given(
    kinds=st.none() | st.lists(st.sampled_from(JobKind), min_size=1, unique=True),
    states=st.none() | st.lists(st.sampled_from(JobState), min_size=1, unique=True),
    is_sandbox=st.none() | st.booleans(),
    limit=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_filter_gives_what_a_look_at_every_row_gives(
    reads: JobReads,
    busy: Shop,
    kinds: list[JobKind] | None,
    states: list[JobState] | None,
    is_sandbox: bool | None,
    limit: int,
) -> None:
    expected = [
        row
        for row in await judged(busy)
        if (kinds is None or row[2] in kinds)
        and (states is None or row[3] in states)
        and (is_sandbox is None or row[4] is is_sandbox)
    ]
    found = await walk(reads, busy.id, limit, kinds=kinds, states=states, is_sandbox=is_sandbox)
    assert [shown(one) for one in found] == expected


async def test_the_model_has_every_kind_and_every_state(reads: JobReads, busy: Shop) -> None:
    found = await walk(reads, busy.id, 100)
    assert {one.kind for one in found} == set(JobKind)
    assert {one.state for one in found} == set(JobState)
    assert {one.is_sandbox for one in found} == {True, False}


async def test_a_delivery_that_failed_shows_its_tries_its_failure_and_its_next_try(
    books: Books, reads: JobReads, shop: Shop
) -> None:
    await shop.endpoint()
    invoice = await shop.pending()
    (ref,) = (await shop.book(invoice.id, "paid", State.PAID)).deliveries
    (waiting,) = await walk(reads, shop.id, 5)
    assert (waiting.state, waiting.attempts, waiting.last_error) == (JobState.WAITING, 0, None)
    failed = AttemptOutcome(
        delivered=False, status=503, error="http_status", latency_ms=1, excerpt="", dead=False, wait=3600.0
    )
    await books.attempted(shop.id, ref.id, failed, disable_after=1e9)
    (job,) = await walk(reads, shop.id, 5)
    assert (job.id, job.workflow_id, job.object_id) == (ref.id, f"delivery-{ref.id}", invoice.id)
    assert (job.state, job.attempts, job.last_error) == (JobState.RETRYING, 1, "http_status")
    assert job.next_attempt_at is not None
    assert job.next_attempt_at - job.updated_at == timedelta(seconds=3600)  # both are the booking's own time
    assert await walk(reads, shop.id, 5, states=[JobState.RETRYING]) == [job]
    assert await walk(reads, shop.id, 5, states=[JobState.WAITING, JobState.DEAD]) == []


async def test_cases_say_why_and_a_reconciliation_in_trouble_is_retrying(reads: JobReads, shop: Shop) -> None:
    invoice = await shop.paid()
    await shop.book(invoice.id, "late", attention=Attention.PAID_LATE)
    refund = await shop.refund(invoice, 100, to=RefundState.PROCESSING)
    await shop.book_refund(refund.id, "lost", attention=RefundAttention.OUTCOME_UNKNOWN)
    run = await reconciliation(shop, troubled=datetime.now(UTC))
    found = {one.kind: one for one in await walk(reads, shop.id, 5)}
    assert (found[JobKind.INVOICE].id, found[JobKind.INVOICE].last_error) == (invoice.id, Attention.PAID_LATE)
    case = found[JobKind.REFUND]
    assert (case.id, case.object_id, case.last_error, case.attempts) == (
        refund.id,
        invoice.id,
        RefundAttention.OUTCOME_UNKNOWN,
        0,
    )
    assert (found[JobKind.RECONCILIATION].id, found[JobKind.RECONCILIATION].state) == (run, JobState.RETRYING)
