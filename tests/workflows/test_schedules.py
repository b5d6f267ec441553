"""What recurs is there after the first call, is made once, follows the settings, and comes back when it was lost."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.client import Client, ScheduleActionStartWorkflow

from dev.temporal import TemporalServer
from runtime.task_queues import TaskQueues
from runtime.temporal import data_converter
from tests.replay.keyring import RING
from workflows.schedules import WATCHDOG, Recurring, ensure_schedules, recurring

QUEUES = TaskQueues("schedules")  # nobody works here


@pytest.fixture
async def client(temporal_server: TemporalServer) -> AsyncIterator[Client]:
    made = await Client.connect(temporal_server.address, data_converter=data_converter(RING))
    yield made
    for one in wanted(3600):
        await made.get_schedule_handle(one.id).delete()


def wanted(every: float) -> list[Recurring]:
    return recurring(watchdog_every=every, reconcile_at=(3, 30))


async def every(client: Client) -> timedelta:
    described = await client.get_schedule_handle(WATCHDOG).describe()
    (interval,) = described.schedule.spec.intervals
    return interval.every


async def test_schedules_are_made_once_and_again_when_they_were_lost(client: Client) -> None:
    ids = [one.id for one in wanted(3600)]
    assert WATCHDOG in ids
    assert await ensure_schedules(client, QUEUES, wanted(3600)) == ids
    assert await ensure_schedules(client, QUEUES, wanted(3600), renew=True) == []
    described = await client.get_schedule_handle(WATCHDOG).describe()
    action = described.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert (action.workflow, action.task_queue) == ("watchdog", "schedules")
    await client.get_schedule_handle(WATCHDOG).delete()
    assert await ensure_schedules(client, QUEUES, wanted(3600)) == [WATCHDOG]  # and no other


async def test_a_new_setting_is_taken_over_and_a_pause_is_kept(client: Client) -> None:
    await ensure_schedules(client, QUEUES, wanted(3600))
    await client.get_schedule_handle(WATCHDOG).pause(note="by hand")
    await ensure_schedules(client, QUEUES, wanted(7200))
    assert await every(client) == timedelta(hours=1)
    await ensure_schedules(client, QUEUES, wanted(7200), renew=True)
    assert await every(client) == timedelta(hours=2)
    described = await client.get_schedule_handle(WATCHDOG).describe()
    assert (described.schedule.state.paused, described.schedule.state.note) == (True, "by hand")
