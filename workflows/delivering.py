"""The first attempt of a webhook from the story that made the event, and the hand-over of what failed."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ActivityError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    import msgspec

    from activities.delivering import FALLBACK_WAIT, Delivering, DeliverWebhook
    from domain.event import Attempted, DeliveryState
    from domain.invoice import DeliveryRef
    from runtime.task_queues import TaskQueues
    from runtime.temporal_names import MERCHANT
    from workflows.options import WEBHOOK_POST


# The server takes no longer one. Our ids are 30 bytes.
FAIRNESS_KEY_BYTES = 64


class ContinueDelivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A delivery that the books call pending; `wait` is the seconds to the next attempt."""

    merchant_id: str
    delivery_id: str
    wait: float = 0.0


def fair(merchant_id: str) -> Priority:
    """Where tasks of webhooks queue up, merchants take turns, however many one of them has."""
    return Priority(fairness_key=merchant_id[-FAIRNESS_KEY_BYTES:])


async def deliver(merchant_id: str, ref: DeliveryRef) -> None:
    """The first attempt; what failed lives on in `delivery-<id>`, which outlives this story.

    The activity starts that workflow; a child is for where it could not, or died.
    """
    attempted = await _attempt(merchant_id, ref)
    if attempted.state is not DeliveryState.PENDING or attempted.handed_on:
        return
    wait = attempted.retry_after if attempted.retry_after is not None else FALLBACK_WAIT
    try:
        await workflow.start_child_workflow(
            "webhook_delivery",
            ContinueDelivery(merchant_id=merchant_id, delivery_id=ref.id, wait=wait),
            id=f"delivery-{ref.id}",
            task_queue=TaskQueues(workflow.info().task_queue).deliveries,
            parent_close_policy=ParentClosePolicy.ABANDON,
            priority=fair(merchant_id),
            search_attributes=TypedSearchAttributes([SearchAttributePair(MERCHANT, merchant_id)]),
            static_summary=f"webhook {ref.id}, next attempt in {timedelta(seconds=int(wait))}",
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.info("delivery already has its own workflow")


async def _attempt(merchant_id: str, ref: DeliveryRef) -> Attempted:
    """Where our own processes failed, the delivery is simply still pending."""
    try:
        return await workflow.execute_activity_method(
            Delivering.attempt,
            DeliverWebhook(merchant_id=merchant_id, delivery_id=ref.id),
            task_queue=TaskQueues(workflow.info().task_queue).webhooks,
            summary=f"webhook {ref.id} to {ref.endpoint_id}",
            priority=fair(merchant_id),
            **WEBHOOK_POST,
        )
    except ActivityError:
        workflow.logger.warning("webhook attempt did not come to an end")
        return Attempted(state=DeliveryState.PENDING, attempts=0, retry_after=FALLBACK_WAIT)
