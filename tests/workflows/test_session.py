"""The one workflow of a bank connection: its poller, its health, its end."""

import asyncio
from typing import TYPE_CHECKING

import pytest
from temporalio.api.enums.v1 import EventType

from activities.watching import WatchEnded
from domain.event import DeliveryState
from domain.invoice import Kind
from domain.merchant import Health
from tests.workflows.bill import WAIT, NewBill, until_event
from tests.workflows.scene import Scene, pending
from tests.workflows.stage import Stage
from workflows.kaspi_session import RUNS_PER_HISTORY

if TYPE_CHECKING:
    from temporalio.client import WorkflowHandle


@pytest.fixture
def scene(new_bill: NewBill) -> Scene:
    return new_bill(Kind.QR).scene


async def watched(stage: Stage, scene: Scene) -> "WorkflowHandle[object, None]":
    connection = scene.order.connection_id
    assert connection is not None
    await stage.engine.watch_connection(scene.order.merchant_id, connection)
    await scene.until_asked("watch")
    return stage.client.get_workflow_handle(f"kaspi-session-{connection}", result_type=type(None))


async def stopped(handle: "WorkflowHandle[object, None]") -> None:
    await handle.signal("stop")
    async with asyncio.timeout(WAIT):
        await handle.result()


async def test_a_connection_has_one_poller_however_often_it_is_asked_for(stage: Stage, scene: Scene) -> None:
    handle = await watched(stage, scene)
    await watched(stage, scene)
    assert scene.asked == ["watch"]
    await stopped(handle)
    assert scene.asked == ["watch"]


async def test_a_stopped_watch_can_be_taken_up_again(stage: Stage, scene: Scene) -> None:
    await stopped(await watched(stage, scene))
    again = await watched(stage, scene)
    await scene.until_asked("watch", 2)
    await stopped(again)


async def test_news_of_the_banks_health_is_delivered_and_polling_goes_on(stage: Stage, scene: Scene) -> None:
    scene.posts["b"].append(pending(0))
    scene.watches.append(scene.health_news(Health.LOST, "a", "b"))
    handle = await watched(stage, scene)
    await scene.until_asked("watch", 2)
    name = scene.order.merchant_id.removeprefix("mer_")
    for endpoint in ("a", "b"):
        await scene.until_asked(f"post whd_{name}_1_{endpoint}")
    await scene.until_asked(f"post whd_{name}_1_b", 2)
    tail = stage.client.get_workflow_handle(f"delivery-whd_{name}_1_b", result_type=DeliveryState)
    assert await tail.result() is DeliveryState.DELIVERED
    await stopped(handle)


async def test_polling_goes_on_while_a_slow_receiver_is_told(stage: Stage, scene: Scene) -> None:
    scene.receivers_open.clear()
    news = scene.health_news(Health.LOST, "a")
    scene.watches.extend([news, news])  # the same delivery again: it is in hand already
    handle = await watched(stage, scene)
    await scene.until_asked("watch", 3)
    assert scene.tellings == [[], [news.deliveries[0].id], [news.deliveries[0].id]]
    await handle.signal("stop")
    await until_event(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED)
    scene.receivers_open.set()
    async with asyncio.timeout(WAIT):
        await handle.result()
    assert scene.asked.count(f"post {news.deliveries[0].id}") == 1


async def test_a_long_watch_goes_on_as_a_new_run_after_its_deliveries(stage: Stage, scene: Scene) -> None:
    scene.receivers_open.clear()
    news = scene.health_news(Health.LOST, "a")
    scene.watches.append(news)
    scene.watches.extend([scene.health_news(Health.UNKNOWN)] * RUNS_PER_HISTORY)
    handle = await watched(stage, scene)
    run = (await handle.describe()).run_id
    await scene.until_asked("watch", RUNS_PER_HISTORY + 2)
    assert (await handle.describe()).run_id == run
    await scene.until_asked(f"post {news.deliveries[0].id}")
    scene.receivers_open.set()
    await until_event(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, times=RUNS_PER_HISTORY + 2)
    scene.watches.append(scene.health_news(Health.UNKNOWN))
    await scene.until_asked("watch", RUNS_PER_HISTORY + 3)
    assert (await handle.describe()).run_id != run
    first = stage.client.get_workflow_handle(handle.id, run_id=run)
    last = (await first.fetch_history()).events[-1]
    assert last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
    await stopped(handle)


async def test_a_watch_that_nobody_needs_ends_by_itself(stage: Stage, scene: Scene) -> None:
    scene.watches.append(WatchEnded(finished=True))
    handle = await watched(stage, scene)
    async with asyncio.timeout(WAIT):
        await handle.result()
    assert scene.asked == ["watch"]
