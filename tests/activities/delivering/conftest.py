"""A merchant, its endpoint at a real receiver, and the activities that deliver to it."""

from collections.abc import AsyncIterator, Callable

import pytest

from activities.attempting import Attempting, AttemptPolicy
from activities.delivering import Delivering, DeliverWebhook
from db.endpoints import new_endpoint_id
from domain.invoice import State
from operations import sealed
from runtime.secrets import SealBox
from tests.activities.delivering.calls import DISABLE_AFTER, SCHEDULE, SECRET
from tests.activities.tails import Tails
from tests.activities.town import Town
from tests.db.books import Shop
from tests.support.receiver import WebhookReceiver
from webhooks.guard import EgressRules
from webhooks.lanes import Lanes
from webhooks.sender import Sender


@pytest.fixture
def tails() -> Tails:
    return Tails()


@pytest.fixture
async def new_attempting(town: Town, box: SealBox, tails: Tails) -> AsyncIterator[Callable[[], Attempting]]:
    """Of another process each time: what one has in hand the others don't know."""
    rules = EgressRules(allowed_hosts=frozenset({"127.0.0.1"}))
    async with Sender(rules, attempt_seconds=60) as sender:
        yield lambda: Attempting(
            town.books.deliveries,
            sealed.poster(sender, box),
            Lanes(per_endpoint=2),
            tails,
            AttemptPolicy(schedule=SCHEDULE, disable_after=DISABLE_AFTER),
        )


@pytest.fixture
def attempting(new_attempting: Callable[[], Attempting]) -> Attempting:
    return new_attempting()


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
