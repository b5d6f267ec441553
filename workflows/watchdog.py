"""The watchdog: every minute it looks for what has lost its workflow, and starts it again, reading first."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.guarding import Guarded, Guarding
    from workflows import options

_ROUNDS = {
    "invoices": Guarding.invoices,
    "refunds": Guarding.refunds,
    "pollers": Guarding.pollers,
    "deliveries": Guarding.deliveries,
    "redeliveries": Guarding.redeliveries,
    "subscriptions": Guarding.subscriptions,
    "test_clocks": Guarding.test_clocks,
}


@workflow.defn(name="watchdog")
class WatchdogWorkflow:
    """One run is one round over every kind; a Temporal Schedule starts it (`workflows.schedules`)."""

    @workflow.run
    async def run(self) -> dict[str, Guarded]:
        """What was alive, restarted and not restartable, by kind. Fails where a kind could not be looked at at all."""
        rounds = await asyncio.gather(*(self._round(kind) for kind in _ROUNDS))
        seen = {kind: guarded for kind, guarded in zip(_ROUNDS, rounds, strict=True) if guarded is not None}
        workflow.set_current_details(_table(seen))
        unseen = sorted(set(_ROUNDS) - set(seen))
        if unseen:
            raise ApplicationError(f"not looked at: {', '.join(unseen)}", type="NotAllGuarded", non_retryable=True)
        return seen

    async def _round(self, kind: str) -> Guarded | None:
        try:
            return await workflow.execute_activity_method(_ROUNDS[kind], summary=f"guard {kind}", **options.GUARD)
        except ActivityError:
            workflow.logger.warning("watchdog could not look at %s", kind)
            return None


def _table(seen: dict[str, Guarded]) -> str:
    rows = [f"| {kind} | {one.alive} | {one.restarted} | {one.failed} |" for kind, one in seen.items()]
    missing = [f"| {kind} | not looked at | | |" for kind in _ROUNDS if kind not in seen]
    return "\n".join(["| | alive | restarted | could not be |", "| --- | --- | --- | --- |", *rows, *missing])
