"""The doorway to subscriptions and test clocks; `workflows.client.Engine` has it."""

from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.subscribing import AdvanceAll
from domain.money import format_amount
from domain.subscription import ChargeRef
from domain.subscription_record import OpenSubscription, SubscriptionRef
from runtime.task_queues import TaskQueues
from runtime.temporal_names import MERCHANT, MODE
from workflows.engine_errors import engine_errors
from workflows.joining import join
from workflows.subscription_messages import (
    UPDATES,
    Act,
    Acted,
    Advanced,
    AdvanceTo,
    AwaitSubscription,
    RunSubscription,
)

T = TypeVar("T")


class SubscriptionDoor:
    """Every action finds the workflow, or begins it again from the books."""

    _client: Client
    _queues: TaskQueues

    async def open_subscription(self, order: OpenSubscription, *, wait: float) -> None:
        """Starts (or joins) the workflow and waits until the books have the subscription.

        `TolemError`: the books refuse it. `NotIssued`: this attempt's window was missed. `EngineAway`: no answer
        within `wait` seconds.
        """
        ref = SubscriptionRef(
            merchant_id=order.merchant_id, subscription_id=order.subscription_id, is_sandbox=order.is_sandbox
        )
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            "subscription",
            RunSubscription(ref=ref, open=order),
            id=workflow_id(order.subscription_id),
            task_queue=self._queues.workflows,
            # A second start is possible only where the first run failed, that is, where nothing was recorded.
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            search_attributes=_attributes(ref),
            static_summary=f"subscription, {format_amount(order.terms.amount)} KZT {order.plan.period}",
        )
        with engine_errors(), suppress(WorkflowAlreadyStartedError):  # it is over: the books tell it
            ask = AwaitSubscription(fingerprint=order.fingerprint)
            await join(self._client, start, "opened", ask, update_id=uuid4().hex, wait=wait)

    async def act_on_subscription(
        self, ref: SubscriptionRef, act: Act, *, wait: float, update_id: str | None = None
    ) -> Acted:
        """One action, booked when this returns; `TolemError` with the code of the refusal where it can't be done now.

        `update_id` makes simultaneous repeats one; what lasts is the answer kept for `act.asked`'s idempotency key.
        """
        return await self._update_subscription(ref, UPDATES[type(act)], act, Acted, wait=wait, update_id=update_id)

    async def advance_subscription(self, ref: SubscriptionRef, to: datetime, *, wait: float) -> Advanced:
        """Moves a subscription on a test clock through every moment up to `to`, or as far as one run of it goes."""
        return await self._update_subscription(ref, "advance", AdvanceTo(to=to), Advanced, wait=wait)

    async def _update_subscription(
        self,
        ref: SubscriptionRef,
        name: str,
        argument: object,
        result: type[T],
        *,
        wait: float,
        update_id: str | None = None,
    ) -> T:
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            "subscription", **self._begun(ref), id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE
        )
        with engine_errors():
            answer: T = await join(
                self._client, start, name, argument, update_id=update_id or uuid4().hex, wait=wait, result_type=result
            )
            return answer
        raise AssertionError("unreachable")

    async def resume_subscription(self, ref: SubscriptionRef) -> None:
        """Makes sure that the workflow runs; harmless to repeat, one that is over ends at once."""
        with engine_errors():
            await self._client.start_workflow(
                "subscription", **self._begun(ref), id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE
            )

    async def bill_changed(self, ref: SubscriptionRef, bill: ChargeRef) -> None:
        """Tells a subscription that the books say something new of a bill; one that is over begins again."""
        with engine_errors():
            await self._client.start_workflow(
                "subscription",
                **self._begun(ref),
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                start_signal="bill_changed",
                start_signal_args=[bill],
            )

    def _begun(self, ref: SubscriptionRef) -> dict[str, Any]:
        return {
            "arg": RunSubscription(ref=ref),
            "id": workflow_id(ref.subscription_id),
            "task_queue": self._queues.workflows,
            "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
            "search_attributes": _attributes(ref),
            "static_summary": "subscription, begun again from the books",
        }

    async def advance_clock(self, merchant_id: str, clock_id: str) -> None:
        """Makes sure that a test clock which the books call advancing is advanced; harmless to repeat.

        The signal is for a run that is about to end: it looks for another target first.
        """
        with engine_errors():
            await self._client.start_workflow(
                "test_clock",
                AdvanceAll(merchant_id=merchant_id, clock_id=clock_id),
                id=f"test-clock-{clock_id}",
                task_queue=self._queues.workflows,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(MERCHANT, merchant_id), SearchAttributePair(MODE, "test")]
                ),
                static_summary=f"test clock {clock_id}",
                start_signal="go_on",
            )


def workflow_id(subscription_id: str) -> str:
    """One workflow per subscription, for as long as it lives."""
    return f"subscription-{subscription_id}"


def _attributes(ref: SubscriptionRef) -> TypedSearchAttributes:
    mode = "test" if ref.is_sandbox else "live"
    return TypedSearchAttributes([SearchAttributePair(MERCHANT, ref.merchant_id), SearchAttributePair(MODE, mode)])
