"""What becomes of a first attempt that failed, or died."""

from activities.delivering import Delivering, DeliverWebhook
from domain.event import DeliveryState
from tests.activities.delivering.calls import attempt, row
from tests.activities.tails import Tails
from tests.db.books import Shop
from tests.support.receiver import Answer, WebhookReceiver


async def test_what_failed_is_handed_to_a_workflow_of_its_own(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver, tails: Tails
) -> None:
    receiver.answer_next(Answer(status=500))
    failed = await attempt(delivering, order)
    assert (failed.state, failed.handed_on) == (DeliveryState.PENDING, True)
    assert (tails.started, tails.waits) == ([order.delivery_id], [failed.retry_after])
    delivered = await attempt(delivering, order)
    assert (delivered.state, delivered.handed_on) == (DeliveryState.DELIVERED, False)
    assert len(tails.started) == 1


async def test_what_cannot_be_handed_on_is_left_to_its_story(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver, tails: Tails
) -> None:
    tails.away = True
    receiver.answer_next(Answer(status=500))
    failed = await attempt(delivering, order)
    assert (failed.state, failed.attempts, failed.handed_on) == (DeliveryState.PENDING, 1, False)
    assert failed.retry_after is not None


async def test_a_first_attempt_that_died_after_it_was_booked_is_not_made_again(
    delivering: Delivering, shop: Shop, order: DeliverWebhook, receiver: WebhookReceiver, tails: Tails
) -> None:
    receiver.answer_next(Answer(status=500))
    tails.away = True
    await attempt(delivering, order)
    tails.away = False
    repeated = await attempt(delivering, order, 2)
    assert (repeated.state, repeated.attempts, repeated.handed_on) == (DeliveryState.PENDING, 1, True)
    assert repeated.retry_after is not None
    assert 0 < repeated.retry_after <= 1.2 * 5
    assert (await row(shop, order))["failures"] == 1
    assert len(receiver.requests) == 1


async def test_a_first_attempt_that_died_after_its_hand_over_hands_on_again_and_sends_nothing(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver, tails: Tails
) -> None:
    receiver.answer_next(Answer(status=500))
    await attempt(delivering, order)
    repeated = await attempt(delivering, order, 2)
    assert (repeated.state, repeated.attempts, repeated.handed_on) == (DeliveryState.PENDING, 1, True)
    # The second start is no other workflow: they have one id, and one that runs is left alone.
    assert tails.started == [order.delivery_id, order.delivery_id]
    assert len(receiver.requests) == 1


async def test_a_first_attempt_that_died_before_it_was_booked_is_made_again(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    assert (await attempt(delivering, order, 2)).state is DeliveryState.DELIVERED
    assert len(receiver.requests) == 1
