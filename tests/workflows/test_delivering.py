"""Telling merchants: the story makes the first attempt, `delivery-<id>` the others."""

from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from activities import delivering
from domain.bank import Verdict
from domain.event import Attempted, DeliveryState
from domain.invoice import DeliveryRef, State
from tests.workflows.bill import WAIT, Bill, NewBill, until_event
from tests.workflows.scene import DEAD, DELIVERED, away, pending
from tests.workflows.stage import Stage
from workflows.delivering import FALLBACK_WAIT


async def paid(bill: Bill) -> None:
    await bill.issue()
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


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
    await bill.stage.skip(tail, timedelta(seconds=55))
    assert bill.scene.asked.count(attempt) == 1
    await bill.stage.skip(tail, timedelta(seconds=10))
    await bill.scene.until_asked(attempt, 2)
    await bill.stage.skip(tail, timedelta(seconds=310))
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(attempt) == 3
    assert bill.scene.asked.count(f"post {bill.delivery_id(2, 'b')}") == 1


async def test_a_delivery_without_hope_ends_dead(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].extend([pending(5), DEAD])
    await paid(bill)
    tail = bill.delivery(2, "a")
    await bill.stage.skip(tail, timedelta(seconds=10))
    assert await tail.result() is DeliveryState.DEAD


async def test_a_delivery_that_is_dead_at_once_needs_no_workflow_of_its_own(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].append(DEAD)
    await paid(bill)
    await assert_no_workflow(bill.delivery(2, "a"))


async def test_a_delivery_that_is_tried_for_long_goes_on_as_a_new_run(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].extend([pending(0.01)] * 8)
    await paid(bill)
    tail = bill.delivery(2, "a")
    first = (await tail.describe()).run_id
    assert await tail.result() is DeliveryState.DELIVERED
    assert (await tail.describe()).run_id != first
    assert bill.scene.asked.count(f"post {bill.delivery_id(2, 'a')}") == 9


async def test_an_operator_shortens_the_wait(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.posts["a"].extend([pending(86_400), pending(86_400), DELIVERED])
    await paid(bill)
    tail = bill.delivery(2, "a")
    attempt = f"post {bill.delivery_id(2, 'a')}"
    await tail.signal("try_now")
    await bill.scene.until_asked(attempt, 2)
    await until_event(tail, EventType.EVENT_TYPE_TIMER_STARTED, times=2)
    await tail.signal("try_now")
    assert await tail.result() is DeliveryState.DELIVERED
    assert bill.scene.asked.count(attempt) == 3


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


@pytest.mark.parametrize("first", [DELIVERED, pending(5)], ids=["delivered", "failed"])
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
        await stage.skip(tail, timedelta(seconds=10))
        assert await tail.result() is DeliveryState.DELIVERED
