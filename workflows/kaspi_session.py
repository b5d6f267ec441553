"""The one workflow of a bank connection: keeps its poller running and tells when the bank's health changes."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import msgspec

    from activities.watching import WatchConnection, WatchEnded, Watching
    from domain.invoice import DeliveryRef
    from domain.merchant import Health
    from runtime.task_queues import TaskQueues
    from workflows.delivering import deliver
    from workflows.options import KASPI_POLL

RUNS_PER_HISTORY = 100


@workflow.defn(name="kaspi_session")
class KaspiSessionWorkflow:
    """Never ends; continues as new. The signal `stop` ends it (a connection that is no longer used)."""

    def __init__(self) -> None:
        self._stop = False
        self._telling: dict[str, asyncio.Task[None]] = {}

    @workflow.run
    async def run(self, order: WatchConnection) -> None:
        """Runs the poller again and again; each end of it is a history of six events, whatever it polled.

        Nobody waits for receivers: while news is being delivered the next poller already runs.
        """
        health, runs = Health.UNKNOWN, 0
        while runs < RUNS_PER_HISTORY or self._telling:
            runs += 1
            workflow.set_current_details(
                f"Bank connection `{order.connection_id}`: last news **{health}**.\n\n"
                "The poller runs as the pending activity `kaspi.watch`. Signal `stop` ends the watch."
            )
            ended = await self._watch(order)
            if ended is not None and ended.deliveries:
                health = ended.health
                self._tell(order.merchant_id, ended.deliveries)
            if self._stop or ended is None or ended.finished:
                await asyncio.gather(*self._telling.values())
                return
            self._telling = {id_: task for id_, task in self._telling.items() if not task.done()}
        if self._stop:
            return
        workflow.continue_as_new(order)

    async def _watch(self, order: WatchConnection) -> WatchEnded | None:
        """One poller's end, None when it was stopped."""
        poller = workflow.start_activity_method(
            Watching.watch,
            msgspec.structs.replace(order, telling=sorted(self._telling)),
            task_queue=TaskQueues(workflow.info().task_queue).watch,
            summary="poll open payments",
            **KASPI_POLL,
        )
        await workflow.wait_condition(lambda: self._stop or poller.done())
        if not self._stop:
            return await poller
        poller.cancel()
        (ended,) = await asyncio.gather(poller, return_exceptions=True)
        return ended if isinstance(ended, WatchEnded) else None

    def _tell(self, merchant_id: str, deliveries: list[DeliveryRef]) -> None:
        for ref in deliveries:
            if ref.id not in self._telling:
                self._telling[ref.id] = asyncio.create_task(deliver(merchant_id, ref))

    @workflow.signal(name="stop", description="Stop watching this connection.")
    def stop(self) -> None:
        """For a connection that is no longer used."""
        self._stop = True
