"""Two processes and one delivery: a story's first attempt and a nudge that meet make one request at a time."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.attempting import IN_HAND_WAIT, Attempting
from activities.delivering import DeliverWebhook
from domain.event import Attempted, DeliveryState
from tests.activities.delivering.calls import row
from tests.db.books import Shop
from tests.support.receiver import Answer, WebhookReceiver


async def attempt_of(workflow_id: str, process: Attempting, order: DeliverWebhook) -> Attempted:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, workflow_id=workflow_id)
    return await environment.run(process.once, order.merchant_id, order.delivery_id)


async def killed_during(attempt: Coroutine[Any, Any, Attempted], receiver: WebhookReceiver) -> None:
    """As by SIGKILL while the receiver thinks: nothing is booked, and the claim is left behind."""
    before = len(receiver.requests)
    receiver.answer_next(Answer(delay=30.0))
    dying = asyncio.create_task(attempt)
    await receiver.wait_for(count=before + 1)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)


async def test_a_nudge_during_the_first_attempt_makes_no_second_request(
    new_attempting: Callable[[], Attempting], shop: Shop, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    receiver.answer_next(Answer(delay=1.0))
    story = asyncio.create_task(attempt_of("inv_1", new_attempting(), order))
    await receiver.wait_for(count=1)
    nudged = new_attempting()
    held = await attempt_of(f"delivery-{order.delivery_id}", nudged, order)
    assert (held.state, held.attempts) == (DeliveryState.PENDING, 0)
    assert held.retry_after is not None
    assert 0 < held.retry_after <= IN_HAND_WAIT
    assert (await story).state is DeliveryState.DELIVERED
    assert (await attempt_of(f"delivery-{order.delivery_id}", nudged, order)).state is DeliveryState.DELIVERED
    assert len(receiver.requests) == 1
    assert (await row(shop, order))["claimed_by"] is None


async def test_after_a_failure_the_other_goes_on_at_once(
    new_attempting: Callable[[], Attempting], order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    receiver.answer_next(Answer(status=500))
    assert (await attempt_of("inv_1", new_attempting(), order)).state is DeliveryState.PENDING
    tail = await attempt_of(f"delivery-{order.delivery_id}", new_attempting(), order)
    assert (tail.state, tail.attempts) == (DeliveryState.DELIVERED, 2)


async def test_the_claim_of_a_dead_worker_is_its_own_workflows_at_once_and_everybodys_after_its_end(
    new_attempting: Callable[[], Attempting], shop: Shop, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    await killed_during(attempt_of("inv_1", new_attempting(), order), receiver)

    other = await attempt_of(f"delivery-{order.delivery_id}", new_attempting(), order)
    assert (other.state, len(receiver.requests)) == (DeliveryState.PENDING, 1)
    await shop.books.do(
        "update deliveries set claimed_until = now() - interval '1 second' where id = :id", id=order.delivery_id
    )
    receiver.answer_next(Answer(status=500))
    other = await attempt_of(f"delivery-{order.delivery_id}", new_attempting(), order)
    assert (other.attempts, len(receiver.requests)) == (1, 2)

    await killed_during(attempt_of("inv_1", new_attempting(), order), receiver)
    again = await attempt_of("inv_1", new_attempting(), order)
    assert (again.state, len(receiver.requests)) == (DeliveryState.DELIVERED, 4)


async def test_who_finds_the_lane_full_leaves_no_claim_behind(
    new_attempting: Callable[[], Attempting], shop: Shop, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    process = new_attempting()
    lanes, endpoint = process._lanes, (await row(shop, order))["endpoint_id"]
    async with lanes.place(endpoint, "a"), lanes.place(endpoint, "b"):
        turned_away = await attempt_of("inv_1", process, order)
    assert (turned_away.state, turned_away.attempts, receiver.requests) == (DeliveryState.PENDING, 0, [])
    assert (await row(shop, order))["claimed_by"] is None
    assert (await attempt_of("delivery-1", new_attempting(), order)).state is DeliveryState.DELIVERED
