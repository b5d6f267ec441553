"""The stage: a real Temporal server whose workflows' clocks can be moved, our worker, and doubles of the outside rooms.

Only what stands behind the activities is played; workflows, their client, converter and strict sandbox are ours.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import TimeSkipper, TimeSkippingConfig
from temporalio.worker import Worker

from activities.adopting import AdoptPayment
from activities.bank_calls import PaymentRef
from activities.booking import BookedInvoice
from activities.delivering import Delivering, TestEndpoint
from activities.guarding import Guarded
from activities.heartbeats import beating
from activities.issuing import IssueOutcome
from activities.looking import BankView
from activities.reconciling import Planned, PlanReconciliations, Reconcile, Walked
from activities.watching import WatchConnection, WatchEnded
from dev.ports import free_port
from dev.process import Command
from dev.temporal import TemporalServer
from domain.bank import BankFact, Verdict
from domain.event import Attempted
from domain.invoice import Booked, Change, DeliveryRef, Kind, OpenInvoice
from runtime.task_queues import TaskQueues
from runtime.temporal import data_converter
from runtime.workflow_sandbox import workflow_runner
from tests.replay.keyring import RING
from tests.support.working import working
from tests.workflows.scene import Scene
from worker import DELIVERY_WORKFLOWS, WORKFLOWS
from workflows.client import Engine, EngineAway

QUEUES = TaskQueues("stage")
# Beside what every development server of ours has.
_DYNAMIC_CONFIG = (
    # Allows what the tests are about.
    "frontend.WorkflowTimeSkippingEnabled=true",
    # Keeps the server from adding up to a second to each step.
    'history.timerProcessorMaxTimeShift="1ms"',
    # So that a delivery which goes on for months can be had in seconds.
    "limit.historyCount.suggestContinueAsNew=60",
    # News reaches a workflow between the heartbeats of its local activity, at 80 % of this (10 s by default). Shorter,
    # and a slow machine exceeds it: its local activities would run again.
    'history.defaultWorkflowTaskTimeout="5s"',
)


class Stage:
    """Every scene of a run, and the doubles that find theirs by an id."""

    def __init__(self, skipper: TimeSkipper) -> None:
        self.client = skipper.client
        self.engine = Engine(skipper.client, QUEUES)
        self._skipper = skipper
        self._scenes: dict[str, Scene] = {}
        self.rounds: dict[str, Guarded | ApplicationError] = {}
        self.looked_at: list[str] = []
        # By reconciliation, and by the connection that a plan goes on after.
        self.walks: dict[str, list[Walked | ApplicationError]] = {}
        self.walked: list[str] = []
        self.plans: dict[str, Planned] = {}
        self.delivering = Delivering(self, cast("Any", None), self)  # its `test` is played below

    def add(self, name: str, kind: Kind, *, is_sandbox: bool, endpoints: Sequence[str]) -> Scene:
        scene = self._scenes[name] = Scene(name, kind, is_sandbox=is_sandbox, endpoints=list(endpoints))
        return scene

    async def skip(self, handle: WorkflowHandle[Any, Any], duration: timedelta) -> None:
        """Moves one workflow's clock. Returns when its timers up to then have fired, or when it has ended."""
        async with asyncio.timeout(60):
            try:
                await self._skipper.fast_forward(handle, duration)
            except RPCError as error:
                # Its clock goes on by itself, too: on a slow machine it may have come to its end before this.
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                assert (await handle.describe()).status is not WorkflowExecutionStatus.RUNNING

    async def skip_alone(self, handle: WorkflowHandle[Any, Any], duration: timedelta) -> None:
        """As `skip`; children that it starts on the way have the moved clock and do not move theirs by themselves."""
        before = self._skipper.config
        self._skipper.config = TimeSkippingConfig(enabled=False, disable_propagation=True)
        try:
            await self.skip(handle, duration)
        finally:
            self._skipper.config = before

    def _scene(self, invoice_id: str) -> Scene:
        return self._scenes[invoice_id.removeprefix("inv_")]

    @activity.defn(name="invoice.issue")
    async def issue(self, order: OpenInvoice) -> IssueOutcome:
        return await self._scene(order.invoice_id).issue(order)

    @activity.defn(name="invoice.book")
    async def book(self, change: Change) -> Booked:
        return await self._scene(change.invoice_id).write(change)

    @activity.defn(name="invoice.standing")
    async def standing(self, asked: BookedInvoice) -> Booked:
        return await self._scene(asked.invoice_id).read_books()

    @activity.defn(name="kaspi.look")
    async def look(self, payment: PaymentRef) -> BankView:
        return await self._scene(payment.invoice_id).view()

    @activity.defn(name="kaspi.read_status")
    async def read_status(self, payment: PaymentRef) -> BankFact:
        async with beating():
            return await self._scene(payment.invoice_id).look(payment)

    @activity.defn(name="kaspi.cancel_remote")
    async def cancel_remote(self, payment: PaymentRef) -> Verdict:
        async with beating():
            return await self._scene(payment.invoice_id).cancel()

    @activity.defn(name="invoice.adopt")
    async def adopt(self, ask: AdoptPayment) -> Booked:
        async with beating():
            return await self._scene(ask.order.invoice_id).adopt(ask)

    async def first(self, merchant_id: str, delivery_id: str) -> Attempted:
        """As `once`: what an attempt that never ended did is not in these books."""
        return await self.once(merchant_id, delivery_id)

    async def once(self, merchant_id: str, delivery_id: str) -> Attempted:
        """What stands behind the real activities of a delivery."""
        return await self._scenes[merchant_id.removeprefix("mer_")].post(delivery_id)

    async def begin_delivery(self, merchant_id: str, delivery_id: str, *, wait: float) -> None:
        scene = self._scenes[merchant_id.removeprefix("mer_")]
        if scene.engine_hears:
            await self.engine.begin_delivery(merchant_id, delivery_id, wait=wait)
        if not (scene.engine_hears and scene.engine_answers):
            raise EngineAway("no answer in time")

    async def continue_delivery(self, merchant_id: str, delivery_id: str, *, wait: float = 0.0) -> None:
        await self.engine.continue_delivery(merchant_id, delivery_id, wait=wait)

    @activity.defn(name="webhook.test")
    async def test(self, order: TestEndpoint) -> list[DeliveryRef]:
        return await self._scenes[order.merchant_id.removeprefix("mer_")].test(order)

    def _round(self, kind: str) -> Guarded:
        self.looked_at.append(kind)
        said = self.rounds.pop(kind, Guarded())
        if isinstance(said, ApplicationError):
            raise said
        return said

    @activity.defn(name="reconciliation.walk")
    async def walk(self, order: Reconcile) -> Walked:
        self.walked.append(order.reconciliation_id)
        said = self.walks[order.reconciliation_id].pop(0)
        if isinstance(said, ApplicationError):
            raise said
        return said

    @activity.defn(name="reconciliation.plan")
    async def plan(self, ask: PlanReconciliations) -> Planned:
        return self.plans[f"{ask.cause}/{ask.after}"]

    @activity.defn(name="watchdog.invoices")
    async def guard_invoices(self) -> Guarded:
        return self._round("invoices")

    @activity.defn(name="watchdog.refunds")
    async def guard_refunds(self) -> Guarded:
        return self._round("refunds")

    @activity.defn(name="watchdog.pollers")
    async def guard_pollers(self) -> Guarded:
        return self._round("pollers")

    @activity.defn(name="watchdog.deliveries")
    async def guard_deliveries(self) -> Guarded:
        return self._round("deliveries")

    @activity.defn(name="watchdog.redeliveries")
    async def guard_redeliveries(self) -> Guarded:
        return self._round("redeliveries")

    @activity.defn(name="watchdog.subscriptions")
    async def guard_subscriptions(self) -> Guarded:
        return self._round("subscriptions")

    @activity.defn(name="watchdog.test_clocks")
    async def guard_test_clocks(self) -> Guarded:
        return self._round("test_clocks")

    @activity.defn(name="kaspi.watch")
    async def watch(self, order: WatchConnection) -> WatchEnded:
        return await self._scenes[order.connection_id.removeprefix("con_")].watch(order)


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    """The server, and our workers on it."""
    server = StageServer(None, free_port())
    await server.start()
    try:
        client = await Client.connect(server.address, data_converter=data_converter(RING), identity="stage")
        # Clocks stand by the real one until a test moves them.
        async with _working(TimeSkipper(client, config=TimeSkippingConfig(enabled=False))) as stage:
            yield stage
    finally:
        await server.kill9()


class StageServer(TemporalServer):
    """The development server whose workflows' clocks can be moved.

    Not `WorkflowEnvironment`'s own: that gives a server 5 s to start, and a busy machine needs more.
    """

    def command(self) -> Command:
        command = super().command()
        extra = [word for value in _DYNAMIC_CONFIG for word in ("--dynamic-config-value", value)]
        return replace(command, argv=(*command.argv, *extra))


@asynccontextmanager
async def _working(skipper: TimeSkipper) -> AsyncIterator[Stage]:
    """One worker per queue, as worker.py splits them, in the strict sandbox."""
    stage = Stage(skipper)
    workers = [
        Worker(
            stage.client,
            task_queue=QUEUES.workflows,
            workflows=WORKFLOWS,
            activities=[
                stage.issue,
                stage.book,
                stage.standing,
                stage.guard_invoices,
                stage.guard_refunds,
                stage.guard_pollers,
                stage.guard_deliveries,
                stage.guard_redeliveries,
                stage.guard_subscriptions,
                stage.guard_test_clocks,
            ],
            workflow_runner=workflow_runner(sandboxed=True),
        ),
        Worker(
            stage.client,
            task_queue=QUEUES.kaspi,
            activities=[stage.walk, stage.plan, stage.read_status, stage.cancel_remote, stage.adopt, stage.look],
        ),
        Worker(
            stage.client,
            task_queue=QUEUES.watch,
            activities=[stage.watch],
            # A poller hears of its end with a heartbeat, and those are not sent at once.
            max_heartbeat_throttle_interval=timedelta(milliseconds=100),
        ),
        Worker(stage.client, task_queue=QUEUES.webhooks, activities=[stage.delivering.attempt, stage.test]),
        Worker(
            stage.client,
            task_queue=QUEUES.deliveries,
            workflows=DELIVERY_WORKFLOWS,
            activities=[stage.delivering.retry],
            workflow_runner=workflow_runner(sandboxed=True),
            max_heartbeat_throttle_interval=timedelta(milliseconds=100),
        ),
    ]
    async with working(workers):
        yield stage
