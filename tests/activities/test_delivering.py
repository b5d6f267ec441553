"""Webhook attempts to a real receiver, booked in real books."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import failures
from activities.attempting import IN_HAND_WAIT, Attempting, AttemptPolicy
from activities.delivering import Delivering, DeliverWebhook
from activities.delivering import TestEndpoint as AskForTest  # its own name looks like a test class
from db.endpoints import new_endpoint_id
from domain.event import Attempted, DeliveryState
from domain.invoice import State
from operations import sealed
from runtime.secrets import SealBox
from tests.activities.tails import Tails
from tests.activities.town import Town
from tests.db.books import Shop
from tests.support.receiver import Answer, WebhookReceiver
from webhooks.guard import EgressRules
from webhooks.lanes import Lanes
from webhooks.sender import Sender
from webhooks.signing import new_secret, verify

SCHEDULE = [5.0, 30.0]
DISABLE_AFTER = 120 * 3600.0
SECRET = new_secret()


@pytest.fixture
def tails() -> Tails:
    return Tails()


@pytest.fixture
async def attempting(town: Town, box: SealBox, tails: Tails) -> AsyncIterator[Attempting]:
    rules = EgressRules(allowed_hosts=frozenset({"127.0.0.1"}))
    async with Sender(rules, attempt_seconds=5) as sender:
        yield Attempting(
            town.books.deliveries,
            sealed.poster(sender, box),
            Lanes(per_endpoint=2),
            tails,
            AttemptPolicy(schedule=SCHEDULE, disable_after=DISABLE_AFTER),
        )


@pytest.fixture
def delivering(town: Town, attempting: Attempting, tails: Tails) -> Delivering:
    return Delivering(attempting, town.books.deliveries, tails)


@pytest.fixture
async def shop(town: Town) -> Shop:
    return await town.books.merchant()


@pytest.fixture
async def endpoint(town: Town, shop: Shop, box: SealBox, receiver: WebhookReceiver) -> str:
    endpoint_id = new_endpoint_id()
    sealed = box.seal(SECRET.encode(), f"endpoint:{endpoint_id}")
    await town.books.endpoints.add(
        shop.id, endpoint_id, url=receiver.url, events=["*"], is_sandbox=False, sealed=sealed, asked_by="key_1"
    )
    return endpoint_id


@pytest.fixture
async def order(shop: Shop, endpoint: str) -> DeliverWebhook:
    """A paid invoice's webhook, due now."""
    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "paid", State.PAID)
    return DeliverWebhook(merchant_id=shop.id, delivery_id=booked.deliveries[0].id)


async def attempt(delivering: Delivering, order: DeliverWebhook, number: int = 1) -> Attempted:
    """As Temporal runs it for the `number`th time."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=number)
    return await environment.run(delivering.attempt, order)


async def retry(delivering: Delivering, order: DeliverWebhook, number: int = 2) -> Attempted:
    """As Temporal runs it for the `number`th time."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=number)
    return await environment.run(delivering.retry, order)


async def row(shop: Shop, order: DeliverWebhook) -> dict[str, Any]:
    (found,) = await shop.books.fetch("select * from deliveries where id = :id", id=order.delivery_id)
    return found


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


async def test_a_first_attempt_that_died_before_it_was_booked_is_made_again(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    assert (await attempt(delivering, order, 2)).state is DeliveryState.DELIVERED
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


# --- endpoints that are ill, gone, disabled or deleted


async def endpoint_row(shop: Shop, endpoint: str) -> dict[str, Any]:
    (found,) = await shop.books.fetch("select * from webhook_endpoints where id = :id", id=endpoint)
    return found


async def due(shop: Shop) -> DeliverWebhook:
    """One more webhook of the same merchant."""
    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "paid", State.PAID)
    return DeliverWebhook(merchant_id=shop.id, delivery_id=booked.deliveries[0].id)


async def test_410_kills_the_delivery_disables_its_endpoint_and_tells_the_others(
    delivering: Delivering, shop: Shop, endpoint: str, order: DeliverWebhook, receiver: WebhookReceiver, tails: Tails
) -> None:
    later = await due(shop)
    other = await shop.endpoint("webhook.*", url=receiver.url)
    deaf = await shop.endpoint("invoice.*", url=receiver.url)
    receiver.default = Answer(status=410, body=b"moved out")
    booked = await attempt(delivering, order)
    assert (booked.state, booked.attempts, booked.news) == (DeliveryState.DEAD, 1, [])
    stands = await endpoint_row(shop, endpoint)
    assert (stands["enabled"], stands["disabled_reason"]) == (False, "gone")
    (told,) = await shop.books.fetch(
        "select e.type, e.object, d.id, d.endpoint_id from events e join deliveries d on d.event_id = e.id"
        " where e.object_id = :id",
        id=endpoint,
    )
    assert (told["type"], told["endpoint_id"]) == ("webhook.endpoint_disabled", other)
    assert told["endpoint_id"] != deaf
    assert json.loads(told["object"])["disabled_reason"] == "gone"
    assert tails.started == [told["id"]]
    (audited,) = await shop.books.fetch(
        "select actor_id, action, after from audit_log where object_id = :id and action like '%disabled'", id=endpoint
    )
    assert audited == {
        "actor_id": f"delivery-{order.delivery_id}",
        "action": "webhook_endpoint.disabled",
        "after": "disabled/gone",
    }
    # What waits for it is dead without a request, and says why; it can be replayed.
    booked = await attempt(delivering, later)
    assert booked.state is DeliveryState.DEAD
    assert (await row(shop, later))["last_error"] == "endpoint_disabled"
    assert len(receiver.requests) == 1


async def test_a_deleted_endpoint_gets_nothing(
    delivering: Delivering, shop: Shop, endpoint: str, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    await shop.books.do("update webhook_endpoints set deleted_at = now() where id = :id", id=endpoint)
    assert (await attempt(delivering, order)).state is DeliveryState.DEAD
    assert (await row(shop, order))["last_error"] == "endpoint_deleted"
    assert receiver.requests == []


async def ill_for(shop: Shop, endpoint: str, hours: float) -> None:
    """As if it had failed each hour for so long, the last time an hour ago."""
    await shop.books.do(
        "update webhook_endpoints set failing_since = now() - make_interval(secs => cast(:age as double precision)),"
        " failing_seconds = :seconds, failing_percent = :percent, last_failure_at = now() - interval '1 hour'"
        " where id = :id",
        id=endpoint,
        age=(hours + 1) * 3600.0,
        seconds=hours * 3600.0,
        percent=int(100 * hours * 3600 / DISABLE_AFTER),
    )


@pytest.mark.parametrize(("hours", "percent"), [(59.5, 50), (83.5, 70), (107.5, 90)])
async def test_an_endpoint_on_its_way_to_being_disabled_is_told_of(
    delivering: Delivering,
    shop: Shop,
    endpoint: str,
    order: DeliverWebhook,
    receiver: WebhookReceiver,
    hours: float,
    percent: int,
) -> None:
    await ill_for(shop, endpoint, hours)
    receiver.default = Answer(status=500)
    assert (await attempt(delivering, order)).state is DeliveryState.PENDING
    stands = await endpoint_row(shop, endpoint)
    assert (stands["enabled"], stands["failing_percent"]) == (True, percent)
    (told,) = await shop.events(endpoint)
    assert told["type"] == "webhook.endpoint_failing"
    assert json.loads(told["object"])["failing_percent"] == percent
    await attempt(delivering, order)  # the next failure says nothing new
    assert len(await shop.events(endpoint)) == 1


async def test_five_days_of_nothing_but_failures_disable(
    delivering: Delivering, shop: Shop, endpoint: str, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    await ill_for(shop, endpoint, 119.5)
    receiver.default = Answer(status=500)
    assert (await attempt(delivering, order)).state is DeliveryState.PENDING  # its own schedule is not over
    stands = await endpoint_row(shop, endpoint)
    assert (stands["enabled"], stands["disabled_reason"]) == (False, "failing")
    assert [one["type"] for one in await shop.events(endpoint)] == ["webhook.endpoint_disabled"]
    assert (await attempt(delivering, order)).state is DeliveryState.DEAD


async def test_one_success_ends_the_illness(
    delivering: Delivering, shop: Shop, endpoint: str, order: DeliverWebhook, receiver: WebhookReceiver
) -> None:
    await ill_for(shop, endpoint, 119.5)
    assert (await attempt(delivering, order)).state is DeliveryState.DELIVERED
    stands = await endpoint_row(shop, endpoint)
    assert (stands["failing_since"], stands["failing_seconds"], stands["failing_percent"]) == (None, 0, 0)
    assert stands["last_success_at"] is not None


async def test_news_that_cannot_be_handed_on_now_is_left_to_the_watchdog(
    delivering: Delivering, shop: Shop, endpoint: str, order: DeliverWebhook, receiver: WebhookReceiver, tails: Tails
) -> None:
    other = await shop.endpoint("webhook.endpoint_disabled")
    tails.away = True
    receiver.default = Answer(status=410)
    assert (await attempt(delivering, order)).state is DeliveryState.DEAD
    (left,) = await shop.books.fetch("select state, attempts from deliveries where endpoint_id = :id", id=other)
    assert left == {"state": "pending", "attempts": 0}


# --- the long tail


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
