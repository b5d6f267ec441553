"""What recurs: the one place that knows the ids and times of Temporal's Schedules. Add yours to `recurring`."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from runtime.task_queues import TaskQueues

WATCHDOG = "tolem-watchdog"
RECONCILIATION = "tolem-reconciliation"


class Recurring(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that a Schedule starts: the Schedule's `id`, the workflow's type, its argument if it takes one.

    What was missed while Temporal was away is started once, if it is not older than `catch_up`. A run that lasts
    longer than the pause to the next one is never joined by a second.
    """

    id: str
    workflow: str
    spec: ScheduleSpec
    note: str
    argument: object | None = None
    catch_up: timedelta = timedelta(minutes=1)


def recurring(*, watchdog_every: float, reconcile_at: tuple[int, int]) -> list[Recurring]:
    """Every Schedule of the system; `watchdog_every` in seconds, `reconcile_at` hour and minute in Asia/Almaty."""
    return [
        Recurring(
            id=WATCHDOG,
            workflow="watchdog",
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=watchdog_every))]),
            note="finds what has lost its workflow and starts it again",
        ),
        _nightly_reconciliation(*reconcile_at),
    ]


def _nightly_reconciliation(hour: int, minute: int) -> Recurring:
    time_of_day = ScheduleCalendarSpec(hour=[ScheduleRange(hour)], minute=[ScheduleRange(minute)])
    return Recurring(
        id=RECONCILIATION,
        workflow="reconcile_all",
        spec=ScheduleSpec(calendars=[time_of_day], time_zone_name="Asia/Almaty"),
        note="compares every bank connection's payments with the bank's",
        catch_up=timedelta(hours=12),
    )


async def ensure_schedules(
    client: Client, queues: TaskQueues, wanted: Sequence[Recurring], *, renew: bool = False
) -> list[str]:
    """Makes the Schedules that Temporal does not have; gives the ids of those.

    Safe to repeat, from many workers at once. `renew` also gives those it has our present times (a setting may have
    changed); one that an operator has paused stays paused.
    """
    made = []
    for one in wanted:
        try:
            await client.create_schedule(one.id, _schedule(one, queues))
            made.append(one.id)
        except ScheduleAlreadyRunningError:
            if renew:
                await client.get_schedule_handle(one.id).update(_renewal(_schedule(one, queues)))
    return made


def _schedule(one: Recurring, queues: TaskQueues) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            one.workflow,
            args=[] if one.argument is None else [one.argument],
            id=one.workflow,
            task_queue=queues.workflows,
            static_summary=one.note,
        ),
        spec=one.spec,
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=one.catch_up),
    )


def _renewal(wanted: Schedule) -> Callable[[ScheduleUpdateInput], ScheduleUpdate]:
    def renewed(stands: ScheduleUpdateInput) -> ScheduleUpdate:
        wanted.state = stands.description.schedule.state
        return ScheduleUpdate(schedule=wanted)

    return renewed
