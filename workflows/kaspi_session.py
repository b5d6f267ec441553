"""The one workflow of a bank connection: keeps its poller running and tells when the bank's health changes."""

import asyncio
from collections.abc import Callable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.watching import WatchConnection, WatchEnded, Watching
    from domain.merchant import Health
    from runtime.temporal_names import TaskQueues
    from workflows.delivering import deliver
    from workflows.options import KASPI_POLL

RUNS_PER_HISTORY = 100


@workflow.defn(name="kaspi_session")
class KaspiSessionWorkflow:
    """Never ends; continues as new. The signal `stop` ends it (a connection that is no longer used)."""

    def __init__(self) -> None:
        self._stop = False

    @workflow.run
    async def run(self, order: WatchConnection) -> None:
        """Runs the poller again and again; each end of it is a history of six events, whatever it polled."""
        health = Health.UNKNOWN
        for _ in range(RUNS_PER_HISTORY):
            workflow.set_current_details(
                f"Bank connection `{order.connection_id}`: last news **{health}**.\n\n"
                "The poller runs as the pending activity `kaspi.watch`. Signal `stop` ends the watch."
            )
            poller = workflow.start_activity_method(
                Watching.watch,
                order,
                task_queue=TaskQueues(workflow.info().task_queue).kaspi,
                summary="poll open payments",
                **KASPI_POLL,
            )
            await workflow.wait_condition(self._stopped_or(poller))
            if self._stop:
                poller.cancel()
                await asyncio.gather(poller, return_exceptions=True)
                return
            ended = await poller
            if ended.deliveries:
                health = ended.health
                await asyncio.gather(*(deliver(order.merchant_id, ref) for ref in ended.deliveries))
        if self._stop:
            return
        workflow.continue_as_new(order)

    def _stopped_or(self, poller: "asyncio.Task[WatchEnded]") -> Callable[[], bool]:
        return lambda: self._stop or poller.done()

    @workflow.signal(name="stop", description="Stop watching this connection.")
    def stop(self) -> None:
        """For a connection that is no longer used."""
        self._stop = True
