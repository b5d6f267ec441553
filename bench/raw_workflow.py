"""The yardstick: the least a create by update-with-start can be."""

from datetime import timedelta

from temporalio import activity, workflow

QUEUE = "bench-raw"


@activity.defn(name="bench.nothing")
async def nothing(word: str) -> str:
    """Where the product claims, calls the bank and books."""
    return word


@workflow.defn(name="bench_raw")
class RawWorkflow:
    """As many payloads as an invoice has until it is issued, each one word; then it stays open, as an invoice does."""

    def __init__(self) -> None:
        self._issued = False
        self._finished = False

    @workflow.run
    async def run(self, word: str) -> str:
        """Ends at the signal."""
        await workflow.execute_local_activity(nothing, word, start_to_close_timeout=timedelta(seconds=15))
        self._issued = True
        await workflow.wait_condition(lambda: self._finished)
        return word

    @workflow.update(name="issued")
    async def issued(self, word: str) -> str:
        """Answers when the activity is done."""
        await workflow.wait_condition(lambda: self._issued)
        return word

    @workflow.signal(name="finish")
    def finish(self) -> None:
        """What the workflow waits for."""
        self._finished = True
