"""A redelivery of a range: its activity, run again until the books say that it is over."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.redelivering import Redelivering
    from domain.redelivery import Redeliver
    from workflows.delivering import fair
    from workflows.options import WEBHOOK_REDELIVER

STRETCHES_PER_HISTORY = 200


@workflow.defn(name="redelivery")
class RedeliveryWorkflow:
    """The place stands in the books, so the workflow has no state: it may be started anew at any time."""

    @workflow.run
    async def run(self, order: Redeliver) -> None:
        """Ends when the redelivery is completed or canceled; `GET /v1/redeliveries/{id}` has the counts."""
        for _ in range(STRETCHES_PER_HISTORY):
            went = await workflow.execute_activity_method(
                Redelivering.redeliver,
                order,
                summary=f"redelivery {order.redelivery_id}",
                priority=fair(order.merchant_id),
                **WEBHOOK_REDELIVER,
            )
            if went.over:
                workflow.set_current_details("Over; `GET /api/v1/redeliveries/{id}` has the counts.")
                return
        workflow.continue_as_new(order)
