"""The typed doorway to the workflows, for the API, the CLI and the worker's start."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import msgspec
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from activities.delivering import TestEndpoint
from activities.looking import BankView
from activities.reconciling import Reconcile
from activities.watching import WatchConnection
from domain.bank import BankFact, Verdict
from domain.errors import Code
from domain.invoice import OpenInvoice, State
from domain.money import format_amount
from domain.redelivery import Redeliver
from domain.refund import OpenRefund, RefundState, SimulatedRefund
from runtime.task_queues import TaskQueues
from runtime.temporal_names import MERCHANT, MODE
from workflows.delivering import ContinueDelivery, fair
from workflows.engine_errors import GONE, EngineAway, NotIssued, engine_errors
from workflows.invoice_messages import AwaitIssued, Cancel, Resolve, Simulate
from workflows.job_status import AT_ONCE, JobStatus, look_at
from workflows.joining import join
from workflows.refund_messages import AwaitOpened, RefundLook, ResolveRefund, SimulateRefund
from workflows.subscription_client import SubscriptionDoor

__all__ = ["Engine", "EngineAway", "NotIssued"]

T = TypeVar("T")

LISTED_AT_ONCE = 1000
# A delayed start costs a webhook's tail one activity less than a wait in it, but hears no plain signal (an operator's
# `try_now`; our own signals come with a start, and wake it): only for waits that nobody would cut short by hand.
START_DELAY_SECONDS = 10.0


class Engine(SubscriptionDoor):
    """Starts and talks to workflows; business failures come out as `TolemError`."""

    def __init__(self, client: Client, queues: TaskQueues) -> None:
        self._client = client
        self._queues = queues
        self._job_questions = asyncio.Semaphore(AT_ONCE)

    async def issue(self, order: OpenInvoice, *, wait: float, again: bool = False) -> None:
        """Starts (or joins) the invoice's workflow and waits until the bill is issued or refused.

        Returns when the books tell the outcome. `NotIssued`: this attempt's window was missed. `EngineAway`:
        no answer within `wait` seconds. Identical requests at one time share one update: they add nothing to the
        history. `again` asks in a new window, after `NotIssued`.
        """
        start: WithStartWorkflowOperation[Any, State] = WithStartWorkflowOperation(
            "invoice",
            order,
            id=f"invoice-{order.invoice_id}",
            task_queue=self._queues.workflows,
            # A second start is possible only where the first run failed, that is, where nothing was issued.
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            search_attributes=_attributes(order),
            static_summary=f"{order.kind} invoice, {format_amount(order.amount)} KZT",
        )
        ask = AwaitIssued(fingerprint=order.fingerprint, issue_before=order.issue_before)
        with engine_errors(), suppress(WorkflowAlreadyStartedError):  # the story is over: the books tell it
            await join(self._client, start, "issued", ask, update_id=_issued_id(ask, again=again), wait=wait)

    async def cancel(self, invoice_id: str, *, wait: float, asked_by: str = "") -> None:
        """Asks the bank to withdraw a bill; returns when the books say canceled. `asked_by` is the API key's id."""
        await self._update(invoice_id, "cancel", Cancel(asked_by=asked_by), wait=wait)

    async def simulate(self, invoice_id: str, verdict: Verdict, *, wait: float, asked_by: str = "") -> None:
        """The simulated payer's act; returns when it is booked. `asked_by` is the API key's id."""
        await self._update(invoice_id, "simulate", Simulate(verdict=verdict, asked_by=asked_by), wait=wait)

    async def resolve(self, invoice_id: str, ask: Resolve, *, wait: float) -> None:
        """An operator's decision on an attention case."""
        await self._update(invoice_id, "resolve", ask, wait=wait)

    async def look_at_invoice(self, invoice_id: str, *, wait: float) -> BankView:
        """What the bank says of the payment now; changes nothing."""
        with engine_errors(gone=Code.INVOICE_CLOSED):
            async with asyncio.timeout(wait):
                handle = self._client.get_workflow_handle(f"invoice-{invoice_id}")
                view: BankView = await handle.execute_update("look", id=uuid4().hex, result_type=BankView)
                return view
        raise AssertionError("unreachable")

    async def _update(self, invoice_id: str, name: str, argument: object | None, *, wait: float) -> None:
        handle = self._client.get_workflow_handle(f"invoice-{invoice_id}")
        arguments = [] if argument is None else [argument]
        with engine_errors(gone=Code.INVOICE_CLOSED):
            async with asyncio.timeout(wait):
                await handle.execute_update(name, args=arguments, id=uuid4().hex, result_type=State)

    async def open_refund(self, order: OpenRefund, *, wait: float) -> None:
        """Starts (or joins) the refund's workflow and waits until the books have it.

        `TolemError`: the books refuse it. `NotIssued`: this attempt's window was missed. `EngineAway`: no answer
        within `wait` seconds.
        """
        start: WithStartWorkflowOperation[Any, RefundState] = WithStartWorkflowOperation(
            "refund",
            order,
            id=f"refund-{order.refund_id}",
            task_queue=self._queues.workflows,
            # A second start is possible only where the first run failed, that is, where nothing was recorded.
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            search_attributes=_attributes(order),
            static_summary=f"refund of {order.invoice_id}",
        )
        with engine_errors(), suppress(WorkflowAlreadyStartedError):  # the story is over: the books tell it
            # Not the fingerprint as its id: a refusal must not answer for a later time, when the invoice may be paid.
            ask = AwaitOpened(fingerprint=order.fingerprint)
            await join(self._client, start, "opened", ask, update_id=uuid4().hex, wait=wait)

    async def resume_refund(self, order: OpenRefund) -> None:
        """Starts a refund's story again where none runs; it goes on from the books and reads before it writes."""
        with engine_errors():
            await self._client.start_workflow(
                "refund",
                order,
                id=f"refund-{order.refund_id}",
                task_queue=self._queues.workflows,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                search_attributes=_attributes(order),
                static_summary=f"resumed refund of {order.invoice_id}",
            )

    async def simulate_refund(self, refund_id: str, outcome: SimulatedRefund, *, wait: float) -> None:
        """The simulated bank's act; returns when it is booked."""
        await self._update_refund(refund_id, "simulate", SimulateRefund(outcome=outcome), RefundState, wait=wait)

    async def resolve_refund(self, refund_id: str, ask: ResolveRefund, *, wait: float) -> None:
        """An operator's decision on an attention case."""
        await self._update_refund(refund_id, "resolve", ask, RefundState, wait=wait)

    async def look_at_refund(self, refund_id: str, *, wait: float) -> RefundLook:
        """What our books and the bank say now."""
        return await self._update_refund(refund_id, "look", None, RefundLook, wait=wait)

    async def _update_refund(
        self, refund_id: str, name: str, argument: object | None, result: type[T], *, wait: float
    ) -> T:
        handle = self._client.get_workflow_handle(f"refund-{refund_id}")
        arguments = [] if argument is None else [argument]
        with engine_errors(gone=Code.REFUND_CLOSED):
            async with asyncio.timeout(wait):
                answer: T = await handle.execute_update(name, args=arguments, id=uuid4().hex, result_type=result)
                return answer
        raise AssertionError("unreachable")

    async def bank_said(self, invoice_id: str, fact: BankFact) -> bool:
        """Tells an invoice's workflow what the bank says; False when no such workflow runs."""
        try:
            await self._client.get_workflow_handle(f"invoice-{invoice_id}").signal("bank_said", fact)
        except RPCError as error:
            if error.status in GONE:
                return False
            raise
        return True

    async def resume(self, order: OpenInvoice, fact: BankFact) -> None:
        """Starts an invoice's story again where none runs, with news of the bank; it goes on from the books."""
        await self._resume(order, "bank_said", [fact])

    async def resume_invoice(self, order: OpenInvoice) -> None:
        """Starts an invoice's story again where none runs; one that runs reads the books again.

        For whoever books something beside the story: what needs an operator needs a running workflow.
        """
        await self._resume(order, "books_changed", [])

    async def _resume(self, order: OpenInvoice, signal: str, arguments: list[BankFact]) -> None:
        with engine_errors():
            await self._client.start_workflow(
                "invoice",
                msgspec.structs.replace(order, resumed=True),
                id=f"invoice-{order.invoice_id}",
                task_queue=self._queues.workflows,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                start_signal=signal,
                start_signal_args=arguments,
                search_attributes=_attributes(order),
                static_summary=f"resumed {order.kind} invoice, {format_amount(order.amount)} KZT",
            )

    async def watch_connection(self, merchant_id: str, connection_id: str) -> None:
        """Makes sure that the connection's poller runs; harmless to repeat."""
        with engine_errors():
            await self._client.start_workflow(
                "kaspi_session",
                WatchConnection(merchant_id=merchant_id, connection_id=connection_id),
                id=f"kaspi-session-{connection_id}",
                task_queue=self._queues.workflows,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(MERCHANT, merchant_id), SearchAttributePair(MODE, "live")]
                ),
                static_summary=f"poller of bank connection {connection_id}",
            )

    async def reconcile(self, order: Reconcile) -> None:
        """Makes sure that a reconciliation runs; harmless to repeat, one that is over ends at once."""
        with engine_errors():
            await self._client.start_workflow(
                "reconciliation",
                order,
                id=f"reconciliation-{order.reconciliation_id}",
                task_queue=self._queues.workflows,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(MERCHANT, order.merchant_id), SearchAttributePair(MODE, "live")]
                ),
                static_summary=f"reconciliation {order.reconciliation_id}",
            )

    async def redeliver(self, order: Redeliver) -> None:
        """Makes sure that a redelivery runs; harmless to repeat, one that is over ends at once."""
        with engine_errors():
            await self._client.start_workflow(
                "redelivery",
                order,
                id=f"redelivery-{order.redelivery_id}",
                task_queue=self._queues.deliveries,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                priority=fair(order.merchant_id),
                search_attributes=TypedSearchAttributes([SearchAttributePair(MERCHANT, order.merchant_id)]),
                static_summary=f"redelivery {order.redelivery_id}",
            )

    async def continue_delivery(self, merchant_id: str, delivery_id: str, *, wait: float = 0.0) -> None:
        """Sees to it that a webhook's long tail runs; its next attempt comes after `wait` seconds."""
        order = ContinueDelivery(merchant_id=merchant_id, delivery_id=delivery_id, wait=wait)
        with engine_errors():
            await self._start_delivery(order, signal=("try_in", wait))

    async def begin_delivery(self, merchant_id: str, delivery_id: str, *, wait: float) -> None:
        """Starts a webhook's long tail, whose first attempt comes after `wait` seconds; one that runs is left alone."""
        short = wait <= START_DELAY_SECONDS
        order = ContinueDelivery(merchant_id=merchant_id, delivery_id=delivery_id, wait=0.0 if short else wait)
        with engine_errors():
            await self._start_delivery(order, delay=timedelta(seconds=wait) if short else None)

    async def deliver_now(self, merchant_id: str, delivery_id: str, *, wait: float) -> None:
        """Attempts a delivery that the books call due, at once; one that its workflow is waiting for loses its wait.

        Returns when Temporal has the wish. `EngineAway`: no answer within `wait` seconds.
        """
        with engine_errors():
            async with asyncio.timeout(wait):
                await self._start_delivery(
                    ContinueDelivery(merchant_id=merchant_id, delivery_id=delivery_id), signal=("try_now",)
                )

    async def _start_delivery(
        self, order: ContinueDelivery, *, signal: tuple[Any, ...] = (None,), delay: timedelta | None = None
    ) -> None:
        wait = timedelta(seconds=int(order.wait)) if delay is None else delay
        await self._client.start_workflow(
            "webhook_delivery",
            order,
            id=f"delivery-{order.delivery_id}",
            task_queue=self._queues.deliveries,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=signal[0],
            start_signal_args=signal[1:],
            start_delay=delay,
            priority=fair(order.merchant_id),
            search_attributes=TypedSearchAttributes([SearchAttributePair(MERCHANT, order.merchant_id)]),
            static_summary=f"webhook {order.delivery_id}" + (f", next attempt in {wait}" if wait else ""),
        )

    async def running(self, kind: str) -> set[str]:
        """Ids of the running workflows of a type, by visibility: it lags behind by a moment."""
        query = f"WorkflowType = '{kind}' and ExecutionStatus = 'Running'"
        with engine_errors():
            return {one.id async for one in self._client.list_workflows(query, page_size=LISTED_AT_ONCE)}

    async def runs(self, workflow_id: str) -> bool:
        """Whether the workflow runs, by its own record."""
        with engine_errors():
            try:
                found = await self._client.get_workflow_handle(workflow_id).describe()
            except RPCError as error:
                if error.status in GONE:
                    return False
                raise
        return found.status is WorkflowExecutionStatus.RUNNING

    async def look_at_jobs(self, workflow_ids: list[str], *, wait: float) -> dict[str, JobStatus]:
        """What is known of each of them after `wait` seconds at most (`workflows.job_status`); raises nothing."""
        return await look_at(self._client, workflow_ids, wait=wait, slots=self._job_questions)

    async def test_webhook(self, order: TestEndpoint, *, wait: float) -> None:
        """Queues a test event for an endpoint."""
        with engine_errors(), suppress(WorkflowAlreadyStartedError):
            async with asyncio.timeout(wait):
                await self._client.start_workflow(
                    "webhook_test",
                    order,
                    id=f"webhook-test-{order.endpoint_id}-{order.cause}",
                    task_queue=self._queues.workflows,
                    search_attributes=TypedSearchAttributes([SearchAttributePair(MERCHANT, order.merchant_id)]),
                    static_summary=f"test event for {order.endpoint_id}",
                )

    async def ready(self) -> bool:
        """True when the frontend answers."""
        try:
            async with asyncio.timeout(2):
                return await self._client.service_client.check_health()
        except (RPCError, RuntimeError, TimeoutError):
            return False


class _OfMerchant(Protocol):
    @property
    def merchant_id(self) -> str: ...

    @property
    def is_sandbox(self) -> bool: ...


def _attributes(order: _OfMerchant) -> TypedSearchAttributes:
    mode = "test" if order.is_sandbox else "live"
    return TypedSearchAttributes([SearchAttributePair(MERCHANT, order.merchant_id), SearchAttributePair(MODE, mode)])


def _issued_id(ask: AwaitIssued, *, again: bool) -> str:
    """One id per body; after a missed window one per window, because the server answers a known id from the run
    that failed and starts no other.
    """
    shared = f"issued-{ask.fingerprint[:32]}"
    return f"{shared}-{ask.issue_before.timestamp():.6f}" if again else shared
