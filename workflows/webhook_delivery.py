"""The long tail of one webhook: wait, try, until it is delivered or dead."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import msgspec

    from domain.event import DeliveryState
    from workflows.delivering import FALLBACK_WAIT, ContinueDelivery, attempt


@workflow.defn(name="webhook_delivery")
class WebhookDeliveryWorkflow:
    """Ends with the delivery's final state. The signal `try_now` skips the present wait."""

    @workflow.init
    def __init__(self, order: ContinueDelivery) -> None:
        self._order = order
        self._try_now = False

    @workflow.run
    async def run(self, order: ContinueDelivery) -> DeliveryState:
        """Waits and tries on the instance's schedule; the activity says when the next attempt is due."""
        wait = order.wait
        while True:
            await self._wait(wait)
            tried = await attempt(order.merchant_id, order.delivery_id, summary=f"webhook {order.delivery_id}")
            if tried.state is not DeliveryState.PENDING:
                workflow.set_current_details(f"**{tried.state}** after {tried.attempts} attempts.")
                return tried.state
            wait = tried.retry_after if tried.retry_after is not None else FALLBACK_WAIT
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(msgspec.structs.replace(order, wait=wait))

    @workflow.signal(name="try_now", description="Make the next attempt at once.")
    def try_now(self) -> None:
        """An operator's nudge."""
        self._try_now = True

    async def _wait(self, seconds: float) -> None:
        self._try_now = False
        workflow.set_current_details(
            f"Waiting **{timedelta(seconds=int(seconds))}** for the next attempt.\n\nYou can send the signal `try_now`."
        )
        try:
            await workflow.wait_condition(
                lambda: self._try_now, timeout=timedelta(seconds=seconds), timeout_summary="next webhook attempt"
            )
        except TimeoutError:
            return
