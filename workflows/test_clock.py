"""A test clock on its way: everything on it goes through every moment up to its target."""

from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.subscribing import AdvanceAll, Subscribing
    from workflows.options import ADVANCE_CLOCK


@workflow.defn(name="test_clock")
class TestClockWorkflow:
    """One run per way; the books know the target."""

    __test__ = False  # no test of pytest's

    def __init__(self) -> None:
        self._sent_on = False

    @workflow.run
    async def run(self, order: AdvanceAll) -> datetime | None:
        """Where the clock stands in the end, None where there is none."""
        workflow.set_current_details("Advances its subscriptions, each through every moment on the way.")
        while True:
            self._sent_on = False
            stands = await workflow.execute_activity_method(
                Subscribing.advance, order, summary="advance everything on the clock", **ADVANCE_CLOCK
            )
            if not self._sent_on:
                return stands

    @workflow.signal(name="go_on", description="The books have a target: look again before the end.")
    def go_on(self) -> None:
        """The books call a clock ready a moment before its run is over, and then it may be sent on already."""
        self._sent_on = True
