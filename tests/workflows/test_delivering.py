"""Telling merchants: the story makes the first attempt, `delivery-<id>` the others."""

import asyncio
from datetime import UTC, timedelta

import pytest
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from activities import delivering
from activities.delivering import FALLBACK_WAIT
from domain.bank import Verdict
from domain.event import Attempted, DeliveryState
from domain.invoice import DeliveryRef, State
from runtime import env_parsers as parsers
from tests.workflows.bill import WAIT, Bill, NewBill, until_event
from tests.workflows.scene import DEAD, DELIVERED, away, pending
from tests.workflows.stage import Stage

SCHEDULED = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
PUBLISHED = "5,30,120,600,1800,7200,18000,36000,50400,72000,86400,daily"  # docs/webhooks.md


async def paid(bill: Bill) -> None:
    await bill.issue()
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def until_waiting(handle: WorkflowHandle[object, DeliveryState], *, attempt: int) -> PendingActivityInfo:
    """The activity, once the attempt before this one has failed and the server counts down to this one."""
    async with asyncio.timeout(WAIT):
        while True:
            pending_ = (await handle.describe()).raw_description.pending_activities
            if pending_ and pending_[0].attempt >= attempt and pending_[0].state == SCHEDULED:
                return pending_[0]
            await asyncio.sleep(0.02)


async def skip_to_attempt(bill: Bill, tail: WorkflowHandle[object, DeliveryState], wait: timedelta, nth: int) -> None:
    """Lets the wait pass for the nth attempt in all; its answer is held back until the clock stands still again.

    A clock that is still being moved when the attempt has failed would run on through the next wait, too.
    """
    bill.scene.receivers_open.clear()
    await bill.stage.skip(tail, wait)
    await bill.scene.until_asked(f"post {tail.id.removeprefix('delivery-')}", nth)
    bill.scene.receivers_open.set()


async def assert_no_workflow(handle: WorkflowHandle[object, DeliveryState]) -> None:
    with pytest.raises(RPCError) as caught:
        await handle.describe()
    assert caught.value.status is RPCStatusCode.NOT_FOUND


async def test_what_is_delivered_at_once_needs_no_workflow_of_its_own(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a", "b"))
    await paid(bill)
    assert sorted(bill.scene.asked[-2:]) == [f"post {bill.delivery_id(2, to)}" for to in ("a", "b")]
    for endpoint in ("a", "b"):
        await assert_no_workflow(bill.delivery(2, endpoint))


async def test_a_failed_delivery_outlives_the_story_and_goes_on_until_delivered(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a", "b"))
    bill.scene.posts["a"].extend([pending(60), pending(300), DELIVERED])
    await paid(bill)
    tail = bill.delivery(2, "a")
    assert (await tail.describe()).status is WorkflowExecutionStatus.RUNNING
    attempt = f"post {bill.delivery_id(2, 'a')}"
    await until_waiting(tail, attempt=2)
    assert bill.scene.asked.count(attempt) == 1
    await skip_to_attempt(bill, tail, timedelta(seconds=61), 2)
    await until_waiting(tail, attempt=3)
    await bill.stage.skip(tail, timedelta(seconds=301))
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(attempt) == 3
    assert bill.scene.asked.count(f"post {bill.delivery_id(2, 'b')}") == 1


async def test_where_the_attempt_cannot_hand_on_the_story_does(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.engine_hears = False
    bill.scene.posts["a"].extend([pending(60), DELIVERED])
    await paid(bill)
    tail = bill.delivery(2, "a")
    assert (await tail.describe()).parent_id == bill.handle.id
    await until_waiting(tail, attempt=2)
    await bill.stage.skip(tail, timedelta(seconds=61))
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(f"post {bill.delivery_id(2, 'a')}") == 2


async def test_a_hand_over_whose_answer_is_lost_leaves_one_workflow(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.engine_answers = False
    bill.scene.posts["a"].extend([pending(60), DELIVERED])
    await paid(bill)
    tail = bill.delivery(2, "a")
    assert (await tail.describe()).parent_id is None  # the story's own start found it running
    await until_waiting(tail, attempt=2)
    await bill.stage.skip(tail, timedelta(seconds=61))
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(f"post {bill.delivery_id(2, 'a')}") == 2


async def test_a_failure_adds_no_event_to_its_story(new_bill: NewBill) -> None:
    counts = []
    for number, first in enumerate((DELIVERED, pending(60))):
        bill = new_bill(endpoints=("a",), part=f"_{number}")
        bill.scene.posts["a"].append(first)
        await paid(bill)
        counts.append(len((await bill.handle.fetch_history()).events))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("wait", [600.0, 3600.0])
async def test_a_redelivery_that_tries_before_the_tail_begins_moves_its_first_attempt(
    new_bill: NewBill, wait: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.client.START_DELAY_SECONDS", 600.0)  # so long it must not have begun
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].append(pending(600))
    await paid(bill)
    merchant, delivery, tail = bill.scene.order.merchant_id, bill.delivery_id(2, "a"), bill.delivery(2, "a")
    await bill.stage.engine.continue_delivery(merchant, delivery, wait=wait)
    waiting = await until_waiting(tail, attempt=2)
    planned = waiting.next_attempt_schedule_time.ToDatetime() - waiting.last_attempt_complete_time.ToDatetime()
    assert abs(planned - timedelta(seconds=wait)) < timedelta(seconds=1)
    assert bill.scene.asked.count(f"post {delivery}") == 1


async def test_a_delivery_without_hope_ends_dead(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].extend([pending(600), DEAD])
    await paid(bill)
    tail = bill.delivery(2, "a")
    await bill.stage.skip(tail, timedelta(seconds=605))
    assert await tail.result() is DeliveryState.DEAD


async def test_a_delivery_that_is_dead_at_once_needs_no_workflow_of_its_own(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].append(DEAD)
    await paid(bill)
    await assert_no_workflow(bill.delivery(2, "a"))


async def test_a_month_of_attempts_costs_a_dozen_events_and_keeps_the_published_schedule(new_bill: NewBill) -> None:
    """Each wait that is asked for is waited for, not more and not less, to day 30; the history does not grow by it."""
    bill = new_bill(endpoints=("a",))
    schedule = parsers.schedule(PUBLISHED)
    bill.scene.posts["a"].extend([*(pending(wait) for wait in schedule), DEAD])
    await paid(bill)
    tail, attempt = bill.delivery(2, "a"), f"post {bill.delivery_id(2, 'a')}"
    described = await tail.describe()
    begun, first = described.start_time, described.execution_time
    assert first is not None
    assert abs(first - begun - timedelta(seconds=schedule[0])) < timedelta(seconds=1)
    await skip_to_attempt(bill, tail, timedelta(seconds=schedule[0]), 2)
    for number, wait in enumerate(schedule[1:], start=2):
        waiting = await until_waiting(tail, attempt=number)
        assert waiting.attempt == number
        planned = waiting.next_attempt_schedule_time.ToDatetime() - waiting.last_attempt_complete_time.ToDatetime()
        assert abs(planned - timedelta(seconds=wait)) < timedelta(seconds=1)
        assert bill.scene.asked.count(attempt) == number
        await skip_to_attempt(bill, tail, planned, number + 1)
    assert await tail.result() is DeliveryState.DEAD
    assert bill.scene.asked.count(attempt) == len(schedule) + 1
    history = (await tail.fetch_history()).events
    own = [EventType.Name(event.event_type) for event in history if not event.worker_may_ignore]  # without our skips
    assert len(own) <= 14, own
    closed = history[-1]
    lived = closed.event_time.ToDatetime(tzinfo=UTC) - begun
    assert abs(lived - timedelta(seconds=sum(schedule))) < timedelta(minutes=10)


async def test_an_operator_shortens_the_wait(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].extend([pending(86_400), pending(86_400), DELIVERED])
    await paid(bill)
    tail = bill.delivery(2, "a")
    attempt = f"post {bill.delivery_id(2, 'a')}"
    await tail.signal("try_now")
    await bill.scene.until_asked(attempt, 2)
    await until_waiting(tail, attempt=2)
    await tail.signal("try_now")
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(attempt) == 3


async def test_a_nudge_during_a_request_waits_for_what_becomes_of_it(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].extend([pending(600), pending(86_400), DELIVERED])
    await paid(bill)
    tail, attempt = bill.delivery(2, "a"), f"post {bill.delivery_id(2, 'a')}"
    bill.scene.receivers_open.clear()
    await bill.stage.skip(tail, timedelta(seconds=601))
    await bill.scene.until_asked(attempt, 2)
    await tail.signal("try_now")
    await until_event(tail, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
    assert bill.scene.asked.count(attempt) == 2
    bill.scene.receivers_open.set()
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(attempt) == 3


async def test_a_nudge_that_meets_the_end_looks_at_the_books_once_more(new_bill: NewBill) -> None:
    """The merchant's wish may have been booked after that attempt was: ending here would swallow it."""
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].extend([pending(600), DELIVERED, DELIVERED])
    await paid(bill)
    tail, attempt = bill.delivery(2, "a"), f"post {bill.delivery_id(2, 'a')}"
    bill.scene.receivers_open.clear()
    await bill.stage.skip(tail, timedelta(seconds=601))
    await bill.scene.until_asked(attempt, 2)
    await tail.signal("try_now")
    await until_event(tail, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
    bill.scene.receivers_open.set()
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(attempt) == 3


async def test_what_is_over_is_sent_again_and_a_nudge_joins_one_that_waits(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    await paid(bill)
    delivery, merchant = bill.delivery_id(2, "a"), bill.scene.order.merchant_id
    bill.scene.posts["a"].extend([pending(86_400), DELIVERED])
    engine = bill.stage.engine
    await engine.deliver_now(merchant, delivery, wait=WAIT)
    await bill.scene.until_asked(f"post {delivery}", 2)
    tail = bill.delivery(2, "a")
    await until_waiting(tail, attempt=2)
    await engine.deliver_now(merchant, delivery, wait=WAIT)
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(f"post {delivery}") == 3


async def test_a_redelivery_that_failed_in_between_moves_the_next_attempt(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].extend([pending(86_400)])
    await paid(bill)
    tail = bill.delivery(2, "a")
    await until_waiting(tail, attempt=2)
    await bill.stage.engine.continue_delivery(bill.scene.order.merchant_id, bill.delivery_id(2, "a"), wait=600.0)
    await until_event(tail, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, times=2)
    waits = await until_waiting(tail, attempt=2)
    planned = waits.next_attempt_schedule_time.ToDatetime() - waits.last_attempt_complete_time.ToDatetime()
    assert abs(planned - timedelta(seconds=600)) < timedelta(seconds=1)
    assert bill.scene.asked.count(f"post {bill.delivery_id(2, 'a')}") == 1
    await bill.stage.skip(tail, planned + timedelta(seconds=1))
    assert await tail.result() is DeliveryState.DELIVERED


async def test_a_happy_delivery_costs_its_story_six_events(new_bill: NewBill) -> None:
    counts = []
    for endpoints in ((), ("a",), ("a", "b")):
        bill = new_bill(endpoints=endpoints, part=f"_{len(endpoints)}")
        await paid(bill)
        counts.append(len((await bill.handle.fetch_history()).events))
    assert counts[1] - counts[0] <= 6
    assert counts[2] - counts[1] <= 6


async def test_an_attempt_that_never_came_to_an_end_is_made_again(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    attempts = 5  # WEBHOOK_POST: our own processes died that often
    bill.scene.posts["a"].extend([away("Crash")] * attempts)
    await bill.issue()
    await bill.bank_says(Verdict.PAID)
    await bill.scene.until_booked("paid")
    await bill.skip(timedelta(minutes=2))
    assert await bill.result() is State.PAID
    tail = bill.delivery(2, "a")
    await bill.stage.skip(tail, timedelta(seconds=FALLBACK_WAIT + 5))
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(f"post {bill.delivery_id(2, 'a')}") == attempts + 1


@pytest.mark.parametrize("first", [DELIVERED, pending(600)], ids=["delivered", "failed"])
async def test_a_test_event_goes_the_same_way(stage: Stage, new_bill: NewBill, first: Attempted) -> None:
    scene = new_bill().scene
    scene.posts["a"].append(first)
    name = scene.order.merchant_id.removeprefix("mer_")
    order = delivering.TestEndpoint(merchant_id=scene.order.merchant_id, endpoint_id="a", is_sandbox=True, cause=name)
    await stage.engine.test_webhook(order, wait=WAIT)
    await stage.engine.test_webhook(order, wait=WAIT)  # a repeat is the same test
    refs = await stage.client.get_workflow_handle(f"webhook-test-a-{name}", result_type=list[DeliveryRef]).result()
    assert [ref.endpoint_id for ref in refs] == ["a"]
    assert scene.asked == ["test event", f"post {refs[0].id}"]
    if first is not DELIVERED:
        tail = stage.client.get_workflow_handle(f"delivery-{refs[0].id}", result_type=DeliveryState)
        await stage.skip(tail, timedelta(seconds=605))
        assert await tail.result() is DeliveryState.DELIVERED
