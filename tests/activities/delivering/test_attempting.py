"""Webhook attempts to a real receiver, booked in real books."""

from datetime import UTC, datetime, timedelta

from temporalio.testing import ActivityEnvironment

from activities.delivering import Delivering, DeliverWebhook
from activities.delivering import TestEndpoint as AskForTest  # its own name looks like a test class
from domain.event import DeliveryState
from tests.activities.delivering.calls import SECRET, attempt, row
from tests.activities.town import Town
from tests.db.books import Shop
from tests.support.receiver import Answer, WebhookReceiver
from webhooks.signing import verify


async def test_the_stored_bytes_arrive_signed_for_their_event(
    delivering: Delivering, shop: Shop, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    booked = await attempt(delivering, order)
    (got,) = receiver.requests
    stands = await row(shop, order)
    assert (booked.state, booked.attempts) == (DeliveryState.DELIVERED, 1)
    assert got.body == stands["body"]
    assert got.headers["webhook-id"] == stands["event_id"]
    verify(SECRET, got.headers, got.body, datetime.now(UTC), timedelta(minutes=1))


async def test_every_attempt_sends_the_same_bytes_and_the_same_id(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    receiver.answer_next(Answer(status=500), Answer(drop=True))
    booked = [await attempt(delivering, order) for _ in range(3)]
    assert [one.state for one in booked] == [DeliveryState.PENDING, DeliveryState.PENDING, DeliveryState.DELIVERED]
    assert len(receiver.requests) == 3
    assert len({got.body for got in receiver.requests}) == 1
    assert len({got.headers["webhook-id"] for got in receiver.requests}) == 1


async def test_after_the_last_pause_of_the_schedule_a_delivery_is_dead_and_visible(
    delivering: Delivering, shop: Shop, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    receiver.default = Answer(status=503, body=b"tired")
    first, second, third = [await attempt(delivering, order) for _ in range(3)]
    assert first.retry_after is not None
    assert second.retry_after is not None
    assert 0.8 * 5 <= first.retry_after <= 1.2 * 5
    assert 0.8 * 30 <= second.retry_after <= 1.2 * 30
    assert (third.state, third.attempts, third.retry_after) == (DeliveryState.DEAD, 3, None)
    assert ((await row(shop, order))["state"], (await row(shop, order))["last_status"]) == ("dead", 503)
    assert (await attempt(delivering, order)).state is DeliveryState.DEAD
    assert len(receiver.requests) == 3


async def test_a_receiver_may_ask_for_a_longer_pause_and_not_for_a_shorter_one(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    receiver.answer_next(
        Answer(status=429, headers={"retry-after": "90"}), Answer(status=429, headers={"retry-after": "1"})
    )
    first, second = [await attempt(delivering, order) for _ in range(2)]
    assert first.retry_after == 90
    assert second.retry_after is not None
    assert second.retry_after >= 0.8 * 30


async def test_what_was_delivered_is_not_sent_again(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    first = await attempt(delivering, order)
    again = await attempt(delivering, order)
    assert (again.state, again.attempts) == (first.state, first.attempts) == (DeliveryState.DELIVERED, 1)
    assert len(receiver.requests) == 1


async def test_a_delivery_that_does_not_exist_is_over(delivering: Delivering, shop: Shop) -> None:
    booked = await attempt(delivering, DeliverWebhook(merchant_id=shop.id, delivery_id="whd_none"))
    assert (booked.state, booked.attempts) == (DeliveryState.DEAD, 0)


async def test_another_merchant_cannot_send_it(
    delivering: Delivering, town: Town, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    other = await town.books.merchant()
    stolen = DeliverWebhook(merchant_id=other.id, delivery_id=order.delivery_id)
    assert (await attempt(delivering, stolen)).attempts == 0
    assert receiver.requests == []


async def test_a_test_event_is_made_once_per_cause_and_delivered_like_any_other(
    delivering: Delivering, shop: Shop, endpoint: str, receiver: WebhookReceiver
) -> None:
    ask = AskForTest(merchant_id=shop.id, endpoint_id=endpoint, is_sandbox=False, cause="test:1")
    (ref,) = await ActivityEnvironment().run(delivering.test, ask)
    assert await ActivityEnvironment().run(delivering.test, ask) == [ref]
    await attempt(delivering, DeliverWebhook(merchant_id=shop.id, delivery_id=ref.id))
    (got,) = receiver.requests
    assert b'"webhook.test"' in got.body
