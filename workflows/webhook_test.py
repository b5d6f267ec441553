"""A test event for one endpoint, through the same delivery as any other."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.delivering import Delivering, TestEndpoint
    from domain.invoice import DeliveryRef
    from runtime.task_queues import TaskQueues
    from workflows.delivering import deliver
    from workflows.options import LEDGER_STEP


@workflow.defn(name="webhook_test")
class WebhookTestWorkflow:
    """Ends when the first attempt was made; what failed goes on by itself."""

    @workflow.run
    async def run(self, order: TestEndpoint) -> list[DeliveryRef]:
        """Writes the event, delivers it."""
        refs = await workflow.execute_activity_method(
            Delivering.test,
            order,
            task_queue=TaskQueues(workflow.info().task_queue).webhooks,
            summary="write the test event",
            **LEDGER_STEP,
        )
        for ref in refs:
            await deliver(order.merchant_id, ref)
        return refs
