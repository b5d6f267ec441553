"""Refunds on the stage's server: our worker for them, doubles of their activities, and how people handle a refund."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol

import msgspec
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

from activities.delivering import DeliverWebhook
from activities.heartbeats import beating
from activities.refunding import GiveBack, NoteAnswer, PaymentSums, RefundRef
from domain.event import Attempted
from domain.refund import (
    OpenRefund,
    RefundAttention,
    RefundChange,
    RefundStanding,
    RefundState,
    Returned,
    SimulatedRefund,
    Sums,
)
from runtime.task_queues import TaskQueues
from runtime.temporal_names import ATTENTION, STATE
from runtime.workflow_sandbox import workflow_runner
from tests.support.working import working
from tests.workflows.refund_scene import RefundScene
from tests.workflows.stage import Stage
from worker import WORKFLOWS
from workflows.client import Engine
from workflows.refund_messages import RefundLook, RefundResolution, ResolveRefund

QUEUES = TaskQueues("refund-stage")
# Only ends a test that hangs.
WAIT = 60.0


class NewRefund(Protocol):
    """The fixture `new_refund`; `part` tells several refunds of one test apart."""

    def __call__(
        self,
        part: str = "",
        *,
        is_sandbox: bool = False,
        simulate: SimulatedRefund = SimulatedRefund.COMPLETED,
        endpoints: tuple[str, ...] = (),
    ) -> "StagedRefund": ...


class RefundStage:
    """Every refund of a run, and the doubles that find theirs by its id."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.engine = Engine(stage.client, QUEUES)
        self._scenes: dict[str, RefundScene] = {}

    def add(self, scene: RefundScene) -> RefundScene:
        self._scenes[scene.name] = scene
        return scene

    def _scene(self, refund_id: str) -> RefundScene:
        return self._scenes[refund_id.removeprefix("ref_")]

    def _by_merchant(self, merchant_id: str) -> RefundScene:
        return self._scenes[merchant_id.removeprefix("mer_")]

    @activity.defn(name="refund.open")
    async def open(self, order: OpenRefund) -> RefundStanding:
        return await self._scene(order.refund_id).open(order)

    @activity.defn(name="refund.turn")
    async def turn(self, ref: RefundRef) -> RefundStanding:
        return await self._scene(ref.refund_id).turn()

    @activity.defn(name="refund.standing")
    async def standing(self, ref: RefundRef) -> RefundStanding:
        return await self._scene(ref.refund_id).read_books()

    @activity.defn(name="refund.book")
    async def book(self, change: RefundChange) -> RefundStanding:
        return await self._scene(change.refund_id).book(change)

    @activity.defn(name="refund.note")
    async def note(self, order: NoteAnswer) -> RefundStanding:
        return await self._scene(order.refund_id).note(order.number, order.answer)

    @activity.defn(name="kaspi.read_sums")
    async def read_sums(self, payment: PaymentSums) -> Sums:
        async with beating():
            return await self._by_merchant(payment.merchant_id).sums()

    @activity.defn(name="kaspi.give_back")
    async def give_back(self, order: GiveBack) -> Returned:
        async with beating():
            return await self._scene(order.refund_id).give_back(order)

    @activity.defn(name="webhook.attempt")
    async def attempt(self, order: DeliverWebhook) -> Attempted:
        return await self._by_merchant(order.merchant_id).post(order.delivery_id)


@asynccontextmanager
async def open_refund_stage(stage: Stage) -> AsyncIterator[RefundStage]:
    """One worker per queue, as worker.py splits them, in the strict sandbox."""
    made = RefundStage(stage)
    books: list[Callable[..., Any]] = [made.open, made.turn, made.standing, made.book, made.note]
    workers = [
        Worker(
            stage.client,
            task_queue=QUEUES.workflows,
            workflows=WORKFLOWS,
            activities=books,
            workflow_runner=workflow_runner(sandboxed=True),
        ),
        Worker(stage.client, task_queue=QUEUES.kaspi, activities=[made.read_sums, made.give_back]),
        Worker(stage.client, task_queue=QUEUES.webhooks, activities=[made.attempt]),
    ]
    async with working(workers):
        yield made


class StagedRefund:
    """One refund workflow and its scene."""

    def __init__(self, stage: RefundStage, scene: RefundScene) -> None:
        self.scene = scene
        self.order = scene.order
        self._stage = stage

    @property
    def handle(self) -> WorkflowHandle[object, RefundState]:
        client = self._stage.stage.client
        return client.get_workflow_handle(f"refund-{self.order.refund_id}", result_type=RefundState)

    async def open(self, **changes: object) -> None:
        await self._stage.engine.open_refund(msgspec.structs.replace(self.order, **changes), wait=WAIT)

    async def resume(self) -> None:
        """As the watchdog does."""
        await self._stage.engine.resume_refund(msgspec.structs.replace(self.order, resumed=True))

    async def resolve(self, action: RefundResolution, *, by: str = "", note: str = "") -> None:
        ask = ResolveRefund(action=action, by=by, note=note)
        await self._stage.engine.resolve_refund(self.order.refund_id, ask, wait=WAIT)

    async def simulate(self, outcome: SimulatedRefund) -> None:
        await self._stage.engine.simulate_refund(self.order.refund_id, outcome, wait=WAIT)

    async def look(self) -> RefundLook:
        return await self._stage.engine.look_at_refund(self.order.refund_id, wait=WAIT)

    async def skip(self, duration: timedelta) -> None:
        """Moves the story's clock, and that of the books."""
        self.scene.moved += duration
        await self._stage.stage.skip(self.handle, duration)

    async def nudge(self) -> None:
        """Ends a wait."""
        await self.handle.signal("your_turn")

    async def result(self) -> RefundState:
        async with asyncio.timeout(WAIT):
            return await self.handle.result()

    async def until_attention(self, attention: RefundAttention) -> None:
        """Returns when operators can find the case."""
        async with asyncio.timeout(WAIT):
            while await self.shown() != ("processing", attention.value):  # noqa: ASYNC110 -- the server tells nobody
                await asyncio.sleep(0.05)

    async def shown(self) -> tuple[str | None, str | None]:
        """The state and the attention that operators can search for."""
        attributes = (await self.handle.describe()).typed_search_attributes
        return attributes.get(STATE), attributes.get(ATTENTION)
