"""What failed once lets the first attempts of others go before it, and nothing is sent twice for it."""

import asyncio

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.attempting import Attempting
from activities.booking import Booking
from activities.delivering import Delivering, DeliverWebhook
from domain.event import DeliveryState
from domain.invoice import Change, State
from tests.activities.delivering.calls import attempt, due, retry, row
from tests.activities.tails import Tails
from tests.activities.town import Town
from tests.db.books import Shop
from tests.support.receiver import Answer, WebhookReceiver
from webhooks.courtesy import NEWS_SECONDS, Courtesy


class Clock:
    """Stands still until it is moved: nobody goes on because a test is slow."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def courtesy(clock: Clock) -> Courtesy:
    return Courtesy(patience=2.0, now=clock)


@pytest.fixture
def delivering(town: Town, attempting: Attempting, tails: Tails, courtesy: Courtesy) -> Delivering:
    return Delivering(attempting, town.books.deliveries, tails, courtesy=courtesy)


async def _news(shop: Shop, town: Town, courtesy: Courtesy) -> DeliverWebhook:
    """A bill is paid: booked, and not yet told."""
    invoice = await shop.pending()
    change = Change(invoice_id=invoice.id, merchant_id=shop.id, cause="paid", state=State.PAID)
    booked = await ActivityEnvironment().run(Booking(town.books.ledger, courtesy).book, change)
    return DeliverWebhook(merchant_id=shop.id, delivery_id=booked.deliveries[0].id)


async def test_a_failure_is_reported_after_the_news(
    delivering: Delivering,
    order: DeliverWebhook,
    shop: Shop,
    town: Town,
    receiver: WebhookReceiver,
    courtesy: Courtesy,
    clock: Clock,
) -> None:
    news = await _news(shop, town, courtesy)
    receiver.answer_next(Answer(status=500))
    repeat = asyncio.create_task(retry(delivering, order))
    await receiver.wait_for(count=1)
    assert (await attempt(delivering, news)).state is DeliveryState.DELIVERED
    await asyncio.wait({repeat}, timeout=NEWS_SECONDS + 0.1)
    assert not repeat.done()
    assert (await row(shop, order))["failures"] == 1  # booked, whatever becomes of the report

    clock.now += NEWS_SECONDS
    with pytest.raises(ApplicationError):
        await repeat
    assert len(receiver.requests) == 2


async def test_what_is_delivered_waits_for_nobody(
    delivering: Delivering, order: DeliverWebhook, shop: Shop, town: Town, courtesy: Courtesy
) -> None:
    await _news(shop, town, courtesy)
    assert (await retry(delivering, order)).state is DeliveryState.DELIVERED


async def test_a_silent_change_keeps_nobody_waiting(
    delivering: Delivering,
    order: DeliverWebhook,
    shop: Shop,
    town: Town,
    receiver: WebhookReceiver,
    courtesy: Courtesy,
) -> None:
    invoice = await shop.pending()
    silent = Change(invoice_id=invoice.id, merchant_id=shop.id, cause="paid", state=State.PAID, announce=False)
    await ActivityEnvironment().run(Booking(town.books.ledger, courtesy).book, silent)
    receiver.answer_next(Answer(status=500))
    with pytest.raises(ApplicationError):
        await retry(delivering, order)


async def test_what_failed_is_handed_on_after_the_news(
    delivering: Delivering,
    order: DeliverWebhook,
    shop: Shop,
    receiver: WebhookReceiver,
    tails: Tails,
    courtesy: Courtesy,
    clock: Clock,
) -> None:
    receiver.answer_next(Answer(status=500))
    other = await due(shop)
    failing = asyncio.create_task(attempt(delivering, order))
    await receiver.wait_for(count=1)
    courtesy.news()
    await asyncio.wait({failing}, timeout=NEWS_SECONDS + 0.1)
    assert (failing.done(), tails.started) == (False, [])
    assert (await attempt(delivering, other)).state is DeliveryState.DELIVERED

    clock.now += NEWS_SECONDS
    assert (await failing).handed_on
    assert tails.started == [order.delivery_id]


async def test_a_nudge_does_not_wait_for_the_report(
    delivering: Delivering, order: DeliverWebhook, receiver: WebhookReceiver, courtesy: Courtesy
) -> None:
    courtesy.news()
    receiver.answer_next(Answer(status=500))
    environment = ActivityEnvironment()
    failing = asyncio.create_task(environment.run(delivering.retry, order))
    await receiver.wait_for(count=1)
    await asyncio.wait({failing}, timeout=NEWS_SECONDS + 0.1)
    environment.cancel(cancellation_details=ActivityCancellationDetails(cancel_requested=True))
    with pytest.raises(asyncio.CancelledError):
        await failing
    assert len(receiver.requests) == 1
