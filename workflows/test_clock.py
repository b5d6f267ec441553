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

    @workflow.run
    async def run(self, order: AdvanceAll) -> datetime | None:
        """Where the clock stands in the end, None where there is none."""
        workflow.set_current_details("Advances its subscriptions, each through every moment on the way.")
        return await workflow.execute_activity_method(
            Subscribing.advance, order, summary="advance everything on the clock", **ADVANCE_CLOCK
        )
