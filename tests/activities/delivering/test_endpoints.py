"""Endpoints that are ill, gone, disabled or deleted."""

import json

import pytest

from activities.delivering import Delivering, DeliverWebhook
from domain.event import DeliveryState
from tests.activities.delivering.calls import attempt, due, endpoint_row, ill_for, row
from tests.activities.tails import Tails
from tests.db.books import Shop
from tests.support.receiver import Answer, WebhookReceiver


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
