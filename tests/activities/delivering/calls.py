"""Activities as Temporal runs them, and what the books say afterwards."""

import dataclasses
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.delivering import Delivering, DeliverWebhook
from domain.event import Attempted
from domain.invoice import State
from tests.db.books import Shop
from webhooks.signing import new_secret

# Seconds between attempts: two waits, three attempts.
SCHEDULE = [5.0, 30.0]
DISABLE_AFTER = 120 * 3600.0
SECRET = new_secret()


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


async def endpoint_row(shop: Shop, endpoint: str) -> dict[str, Any]:
    (found,) = await shop.books.fetch("select * from webhook_endpoints where id = :id", id=endpoint)
    return found


async def due(shop: Shop) -> DeliverWebhook:
    """One more webhook of the same merchant."""
    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "paid", State.PAID)
    return DeliverWebhook(merchant_id=shop.id, delivery_id=booked.deliveries[0].id)


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
