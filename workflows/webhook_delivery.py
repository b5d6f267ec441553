"""The long tail of one webhook: one activity that Temporal runs again until it is delivered or dead."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    import msgspec

    from activities.delivering import Delivering, DeliverWebhook
    from domain.event import Attempted, DeliveryState
    from workflows.delivering import ContinueDelivery
    from workflows.options import WEBHOOK_RETRY


@workflow.defn(name="webhook_delivery")
class WebhookDeliveryWorkflow:
    """Ends with the delivery's final state. The waits between attempts are the activity's retry delays.

    The signals `try_now` and `try_in` replace the present wait.
    """

    @workflow.init
    def __init__(self, order: ContinueDelivery) -> None:
        self._order = order
        self._again_in: float | None = None

    @workflow.run
    async def run(self, order: ContinueDelivery) -> DeliveryState:
        """Tries on the instance's schedule; a nudge begins a new activity, whose first attempt comes at once."""
        # A redelivery may have tried in between, before this began.
        wait = order.wait if self._again_in is None else self._again_in
        while True:
            workflow.set_current_details(
                "Pending activity: the last failure and the next attempt.\n\nYou can send the signal `try_now`."
            )
            tried = await self._try(wait)
            if tried is not None and not self._nudged():
                workflow.set_current_details(f"**{tried.state}** after {tried.attempts} attempts.")
                return tried.state
            wait = self._again_in or 0.0
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(msgspec.structs.replace(order, wait=wait))

    async def _try(self, wait: float) -> Attempted | None:
        """The end, or None where the wait was cut short by a nudge."""
        self._again_in = None
        trying = workflow.start_activity_method(
            Delivering.retry,
            DeliverWebhook(
                merchant_id=self._order.merchant_id,
                delivery_id=self._order.delivery_id,
                wait=wait,
            ),
            summary=f"webhook {self._order.delivery_id}",
            **WEBHOOK_RETRY,
        )
        await workflow.wait_condition(lambda: trying.done() or self._nudged())
        if not trying.done():
            trying.cancel()
        try:
            return await trying
        except ActivityError as error:
            # A request on its way when the nudge came is waited for; where it failed, that failure comes here.
            if not self._nudged() and not is_cancelled_exception(error):
                raise
            return None

    def _nudged(self) -> bool:
        return self._again_in is not None

    @workflow.signal(name="try_now", description="Make the next attempt at once.")
    def try_now(self) -> None:
        """An operator's nudge, or a merchant's: `POST /v1/webhook-deliveries/{id}/retry`."""
        self._again_in = 0.0

    @workflow.signal(name="try_in", description="Make the next attempt after so many seconds.")
    def try_in(self, seconds: float) -> None:
        """From a redelivery that tried in between, and failed: its schedule counts from there."""
        self._again_in = seconds if self._again_in is None else min(self._again_in, seconds)
