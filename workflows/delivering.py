"""The first attempt of a webhook from the story that made the event, and the hand-over of what failed."""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    import msgspec

    from activities.delivering import Delivering, DeliverWebhook
    from domain.event import Attempted, DeliveryState
    from domain.invoice import DeliveryRef
    from runtime.temporal_names import TaskQueues
    from workflows.options import WEBHOOK_POST

FALLBACK_WAIT = 30.0


class ContinueDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery whose first attempt failed; `wait` is the seconds to the next one."""

    merchant_id: str
    delivery_id: str
    wait: float


async def attempt(merchant_id: str, delivery_id: str, *, summary: str) -> Attempted:
    """One attempt on the webhooks queue. Where our own processes failed, the delivery is simply still pending."""
    try:
        return await workflow.execute_activity_method(
            Delivering.attempt,
            DeliverWebhook(merchant_id=merchant_id, delivery_id=delivery_id),
            task_queue=TaskQueues(workflow.info().task_queue).webhooks,
            summary=summary,
            **WEBHOOK_POST,
        )
    except ActivityError:
        workflow.logger.warning("webhook attempt did not come to an end")
        return Attempted(state=DeliveryState.PENDING, attempts=0, retry_after=FALLBACK_WAIT)


async def deliver(merchant_id: str, ref: DeliveryRef) -> None:
    """The first attempt; what failed lives on in `delivery-<id>`, which outlives this story."""
    attempted = await attempt(merchant_id, ref.id, summary=f"webhook {ref.id} to {ref.endpoint_id}")
    if attempted.state is not DeliveryState.PENDING:
        return
    wait = attempted.retry_after if attempted.retry_after is not None else FALLBACK_WAIT
    try:
        await workflow.start_child_workflow(
            "webhook_delivery",
            ContinueDelivery(merchant_id=merchant_id, delivery_id=ref.id, wait=wait),
            id=f"delivery-{ref.id}",
            parent_close_policy=ParentClosePolicy.ABANDON,
            static_summary=f"webhook {ref.id}, next attempt in {timedelta(seconds=int(wait))}",
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.info("delivery already has its own workflow")
