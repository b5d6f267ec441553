"""A receiver that is down for 26 hours: the real activities, books and sockets, and a clock that is moved."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

import worker
from activities.attempting import Attempting, AttemptPolicy
from activities.delivering import Delivering
from activities.redelivering import Redelivering
from db.endpoints import new_endpoint_id
from db.redeliveries import Redeliveries
from db.redelivery_books import RedeliveryBooks
from dev.postgres import Database
from domain.event import DeliveryState
from domain.ids import REDELIVERY, new_id
from domain.invoice import DeliveryRef, State
from domain.redelivery import Redeliver, Redelivery, RedeliveryKind, RedeliveryState
from operations import sealed
from runtime import env_parsers as parsers
from runtime.secrets import KeyRing, SealBox
from runtime.task_queues import TaskQueues
from runtime.workflow_sandbox import workflow_runner
from tests.db.books import Books, Shop
from tests.replay.recording import UNRECORDED
from tests.support.receiver import Answer, WebhookReceiver
from tests.workflows.stage import Stage
from webhooks.guard import EgressRules
from webhooks.lanes import Lanes
from webhooks.sender import Sender
from webhooks.signing import new_secret
from workflows.client import Engine

PUBLISHED = "5,30,120,600,1800,7200,18000,36000,50400,72000,86400,daily"  # docs/webhooks.md
EVENTS = 5
DOWN = timedelta(hours=26)
# 0 s, 5 s, 35 s, 155 s, 12:35 min, 42:35 min, 2:42 h, 7:42 h, 17:42 h; the next comes at 31:42 h, jitter aside.
ATTEMPTS_BY_THEN = range(9, 11)


@dataclass
class Webhooks:
    """A merchant's webhooks, as a worker of their own handles them."""

    stage: Stage
    books: Books
    engine: Engine
    attempting: Attempting
    shop: Shop
    endpoint: str

    async def event(self) -> DeliveryRef:
        invoice = await self.shop.pending()
        return (await self.shop.book(invoice.id, "paid", State.PAID)).deliveries[0]

    def tail(self, ref: DeliveryRef) -> WorkflowHandle[object, DeliveryState]:
        return self.stage.client.get_workflow_handle(f"delivery-{ref.id}", result_type=DeliveryState)

    async def states(self) -> list[tuple[str, int]]:
        """State and attempts, in the order of the events."""
        rows = await self.books.fetch(
            "select d.state, d.attempts from deliveries d join events e on e.id = d.event_id"
            " where d.endpoint_id = :id order by e.created_at, e.id",
            id=self.endpoint,
        )
        return [(row["state"], row["attempts"]) for row in rows]

    async def redeliver(self, since: datetime) -> Redelivery:
        records = Redeliveries(self.books.app)
        now = datetime.now(UTC)
        wanted = Redelivery(
            id=new_id(REDELIVERY),
            merchant_id=self.shop.id,
            endpoint_id=self.endpoint,
            is_sandbox=False,
            kind=RedeliveryKind.UNDELIVERED,
            since=since,
            until=now,
            state=RedeliveryState.RUNNING,
            found=0,
            delivered=0,
            handed_over=0,
            place_at=None,
            place_id=None,
            asked_by="key_1",
            created_at=now,
            finished_at=None,
        )
        opened = await records.open(wanted, request_id="req_1")
        await self.engine.redeliver(Redeliver(merchant_id=self.shop.id, redelivery_id=opened.id))
        await self.stage.client.get_workflow_handle(f"redelivery-{opened.id}").result()
        found = await records.redelivery(self.shop.id, opened.id)
        assert found is not None
        return found


@pytest.fixture
async def webhooks(stage: Stage, postgres: Database, receiver: WebhookReceiver) -> AsyncIterator[Webhooks]:
    queues = TaskQueues(f"{UNRECORDED}day")
    box = SealBox(KeyRing("k1", {"k1": os.urandom(32)}))
    books, engine = Books(postgres), Engine(stage.client, queues)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(books.close)
        sender = await stack.enter_async_context(Sender(EgressRules(allowed_hosts=frozenset({"127.0.0.1"}))))
        policy = AttemptPolicy(schedule=parsers.schedule(PUBLISHED))
        attempting = Attempting(books.deliveries, sealed.poster(sender, box), Lanes(), engine, policy)
        redelivering = Redelivering(RedeliveryBooks(books.app, books.renderer), attempting, engine)
        await stack.enter_async_context(
            Worker(
                stage.client,
                task_queue=queues.deliveries,
                workflows=worker.DELIVERY_WORKFLOWS,
                activities=[Delivering(attempting, books.deliveries, engine).retry, redelivering.redeliver],
                workflow_runner=workflow_runner(sandboxed=True),
            )
        )
        shop, endpoint = await books.merchant(), new_endpoint_id()
        await books.endpoints.add(
            shop.id,
            endpoint,
            url=receiver.url,
            events=["*"],
            is_sandbox=False,
            sealed=box.seal(new_secret().encode(), f"endpoint:{endpoint}"),
            asked_by="key_1",
        )
        yield Webhooks(stage, books, engine, attempting, shop, endpoint)


async def test_nothing_is_lost_in_26_hours_and_a_redelivery_closes_the_gap_in_order(
    webhooks: Webhooks, receiver: WebhookReceiver
) -> None:
    receiver.default = Answer(status=503)
    began = datetime.now(UTC) - timedelta(minutes=1)
    refs = [await webhooks.event() for _ in range(EVENTS)]
    for ref in refs:  # as the story of each event does it
        first = await webhooks.attempting.once(webhooks.shop.id, ref.id)
        assert first.retry_after is not None
        await webhooks.engine.continue_delivery(webhooks.shop.id, ref.id, wait=first.retry_after)
    await asyncio.gather(*(webhooks.stage.skip(webhooks.tail(ref), DOWN) for ref in refs))
    stands = await webhooks.states()
    assert [state for state, _ in stands] == ["pending"] * EVENTS
    assert all(attempts in ATTEMPTS_BY_THEN for _, attempts in stands), stands

    receiver.requests.clear()
    receiver.default = Answer()
    ended = await webhooks.redeliver(began)
    assert (ended.state, ended.found, ended.delivered, ended.handed_over) == ("completed", EVENTS, EVENTS, 0)
    wanted = await webhooks.books.fetch(
        "select event_id from deliveries where id = any(:ids)", ids=[ref.id for ref in refs]
    )
    events = [msgspec.json.decode(one.body)["data"]["object"]["id"] for one in receiver.requests]
    made = [row["object_id"] for row in await _events_in_order(webhooks)]
    assert events == made
    assert {one.headers["webhook-id"] for one in receiver.requests} == {row["event_id"] for row in wanted}
    assert [state for state, _ in await webhooks.states()] == ["delivered"] * EVENTS
    # The tails find out when their time comes, and send nothing.
    await asyncio.gather(*(webhooks.stage.skip(webhooks.tail(ref), timedelta(hours=30)) for ref in refs))
    for ref in refs:
        assert await webhooks.tail(ref).result() is DeliveryState.DELIVERED
    assert len(receiver.requests) == EVENTS


async def _events_in_order(webhooks: Webhooks) -> list[dict[str, object]]:
    return await webhooks.books.fetch(
        "select e.object_id from deliveries d join events e on e.id = d.event_id"
        " where d.endpoint_id = :id order by e.created_at, e.id",
        id=webhooks.endpoint,
    )
