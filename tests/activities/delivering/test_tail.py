"""The long tail, and attempts that meet."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import failures
from activities.attempting import IN_HAND_WAIT
from activities.delivering import Delivering, DeliverWebhook
from domain.event import DeliveryState
from tests.activities.delivering.calls import (
    attempt,
    due,
    retry,
    row,
)
from tests.db.books import Shop
from tests.support.receiver import Answer, WebhookReceiver


async def test_the_tail_waits_before_its_first_attempt_and_then_fails_until_it_is_over(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    receiver.answer_next(Answer(status=500), Answer(status=500))
    tail = DeliverWebhook(merchant_id=order.merchant_id, delivery_id=order.delivery_id, wait=12.0)
    with pytest.raises(ApplicationError) as first:
        await retry(delivering, tail, 1)
    assert (first.value.type, first.value.next_retry_delay) == (failures.NOT_DELIVERED, timedelta(seconds=12))
    assert receiver.requests == []
    with pytest.raises(ApplicationError) as second:
        await retry(delivering, tail)
    assert second.value.next_retry_delay is not None
    assert 0.8 * 5 <= second.value.next_retry_delay.total_seconds() <= 1.2 * 5
    with pytest.raises(ApplicationError):
        await retry(delivering, tail)
    assert (await retry(delivering, tail)).state is DeliveryState.DELIVERED
    assert not first.value.non_retryable


async def test_a_full_lane_makes_no_attempt_and_says_when_to_come_back(
    delivering: Delivering, shop: Shop, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    orders = [order, await due(shop), await due(shop)]
    receiver.default = Answer(delay=30)
    running = [asyncio.create_task(attempt(delivering, one)) for one in orders[:2]]
    await receiver.wait_for(count=2)
    turned_away = await attempt(delivering, orders[2])
    assert (turned_away.state, turned_away.attempts) == (DeliveryState.PENDING, 0)
    assert turned_away.retry_after is not None
    assert (await row(shop, orders[2]))["attempts"] == 0
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_one_delivery_is_sent_by_one_attempt_at_a_time(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    receiver.default = Answer(delay=0.5)
    first = asyncio.create_task(attempt(delivering, order))
    await receiver.wait_for(count=1)
    second = await attempt(delivering, order)
    assert (second.state, second.retry_after) == (DeliveryState.PENDING, IN_HAND_WAIT)
    assert (await first).state is DeliveryState.DELIVERED
    assert len(receiver.requests) == 1


async def test_a_cancelled_tail_books_what_became_of_its_request(
    delivering: Delivering, shop: Shop, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    receiver.default = Answer(delay=0.5)
    environment = ActivityEnvironment()
    running = asyncio.create_task(environment.run(delivering.retry, order))
    await receiver.wait_for(count=1)
    environment.cancel(cancellation_details=ActivityCancellationDetails(cancel_requested=True))
    assert (await running).state is DeliveryState.DELIVERED
    assert (await row(shop, order))["state"] == "delivered"
