"""The feed: what was announced, read again whole, in an order in which nobody who reads forward misses anything."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import as_merchant
from db.event_reads import EventFilter, EventReads
from db.refunds import RefundLedger
from domain.event import EventType
from domain.ids import EVENT, INVOICE, REFUND, new_id
from domain.invoice import Attention, Invoice, State
from domain.merchant import Connection, Health
from domain.refund import OpenRefund, Refund, RefundChange, RefundState
from domain.rendering import Event
from tests.db.books import Books, Shop

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
TYPES = (EventType.INVOICE_STATUS_CHANGED, EventType.INVOICE_ATTENTION_REQUIRED, EventType.INVOICE_REFUNDED)

_WRITE = text(
    "insert into events"
    " (id, merchant_id, type, object_id, sequence, cause, is_sandbox, api_version, object, created_at)"
    " select :id, :merchant, :type, :object_id, :sequence, :id, :sandbox, 'v1', e.object,"
    " coalesce(:at, clock_timestamp()) from events e where e.merchant_id = :merchant and e.id = :model"
)
_sequences = itertools.count(1000)


@pytest.fixture
def feed(books: Books) -> EventReads:
    return EventReads(books.app)


async def write(
    connection: AsyncConnection,
    shop: Shop,
    model: Event,
    *,
    at: datetime | None = None,
    type_: EventType = TYPES[0],
    sandbox: bool = False,
) -> str:
    """One more event that looks like `model`, as the ledger writes it: its moment is the clock's, its commit later."""
    id_ = new_id(EVENT)
    values = {"merchant": shop.id, "object_id": model.object_id, "sequence": next(_sequences), "model": model.id}
    await connection.execute(_WRITE, values | {"id": id_, "type": type_, "sandbox": sandbox, "at": at})
    return id_


async def some_event(feed: EventReads, shop: Shop) -> Event:
    """A real one, to make others of."""
    invoice = await shop.pending()
    await shop.book(invoice.id, "paid", State.PAID)
    (event,) = (await feed.page(shop.id, EventFilter(since=LONG_AGO, object_id=invoice.id))).items
    return event


@asynccontextmanager
async def writing(shop: Shop, model: Event) -> AsyncIterator[str]:
    """A transaction of a booking that has its event and not yet its commit."""
    async with as_merchant(shop.books.app, shop.id) as connection:
        yield await write(connection, shop, model)


async def walk(
    feed: EventReads,
    shop: Shop,
    *,
    after: tuple[datetime, str] | None = None,
    since: datetime = LONG_AGO,
    **wanted: Any,
) -> list[Event]:
    found: list[Event] = []
    while True:
        page = await feed.page(shop.id, EventFilter(since=since, after=after, **wanted))
        found += page.items
        if not page.has_more:
            return found
        after = (page.items[-1].created_at, page.items[-1].id)


async def ids(feed: EventReads, shop: Shop, **wanted: Any) -> list[str]:
    return [event.id for event in await walk(feed, shop, **wanted)]


# --- what is shown


async def test_an_event_shows_the_object_as_it_was_then_and_where_it_came_from(feed: EventReads, shop: Shop) -> None:
    invoice = await shop.pending(external_order_id="order_1")
    await shop.book(invoice.id, "paid", State.PAID)
    paid = await shop.invoice(invoice.id)
    await shop.book(invoice.id, "looked", attention=Attention.PAID_LATE)
    first, second = await walk(feed, shop, ascending=True)
    assert isinstance(first.object, Invoice)
    assert first.object == paid
    assert (first.type, first.previous_state, first.sequence) == (EventType.INVOICE_STATUS_CHANGED, "pending", 2)
    assert isinstance(second.object, Invoice)
    assert (second.type, second.object.attention) == (EventType.INVOICE_ATTENTION_REQUIRED, Attention.PAID_LATE)
    assert (second.previous_state, second.created_at) == ("paid", second.object.updated_at)
    assert await feed.event(shop.id, first.id, LONG_AGO) == first


async def test_the_bank_link_and_the_test_event_are_in_the_feed_too(books: Books, feed: EventReads, shop: Shop) -> None:
    endpoint = await shop.endpoint()
    await books.deliveries.connection_health(shop.id, shop.connection_id, Health.LOST, "kaspi_misconfigured")
    await books.deliveries.test(shop.id, endpoint, is_sandbox=True, cause="test-1")
    lost, test = await walk(feed, shop, ascending=True)
    assert isinstance(lost.object, Connection)
    assert (lost.type, lost.object.health) == (EventType.KASPI_SESSION_CHANGED, Health.LOST)
    assert (test.type, test.object, test.object_id, test.is_sandbox) == (
        EventType.WEBHOOK_TEST, None, endpoint, True,
    )  # fmt: skip


async def test_a_refund_is_two_events_one_of_itself_and_one_of_its_invoice(
    books: Books, feed: EventReads, shop: Shop
) -> None:
    invoice = await shop.pending()
    await shop.book(invoice.id, "paid", State.PAID)
    ledger = RefundLedger(books.app, books.renderer)
    order = OpenRefund(
        refund_id=new_id(REFUND),
        merchant_id=shop.id,
        invoice_id=invoice.id,
        is_sandbox=False,
        open_before=datetime.now(UTC) + timedelta(seconds=20),
        fingerprint="f1",
        operation="refunds",
        request_id="req_1",
        amount=1,
    )
    await ledger.open(order)
    await ledger.turn(shop.id, order.refund_id)
    done = RefundChange(refund_id=order.refund_id, merchant_id=shop.id, cause="completed", state=RefundState.COMPLETED)
    await ledger.book(done)
    told = {event.type: event for event in await walk(feed, shop, ascending=True)}
    completed, refunded = told[EventType.REFUND_COMPLETED], told[EventType.INVOICE_REFUNDED]
    assert isinstance(completed.object, Refund)
    assert (completed.object.id, completed.object.amount, completed.previous_state) == (
        order.refund_id,
        1,
        "processing",
    )
    assert refunded.object == await shop.invoice(invoice.id)
    assert (refunded.object_id, refunded.previous_state) == (invoice.id, "paid")


async def test_the_feed_and_the_stored_webhook_tell_the_same(books: Books, feed: EventReads, shop: Shop) -> None:
    endpoint = await shop.endpoint()
    invoice = await shop.pending()
    (delivery,) = (await shop.book(invoice.id, "paid", State.PAID)).deliveries
    (event,) = await walk(feed, shop)
    due = await books.deliveries.due(shop.id, delivery.id)
    assert due is not None
    shown = msgspec.to_builtins(books.renderer.v1.event(event))
    assert msgspec.json.decode(due.body) == shown | {"endpoint_id": endpoint}


async def test_events_of_another_merchant_and_those_that_are_too_old_are_not_there(
    books: Books, feed: EventReads, shop: Shop
) -> None:
    event = await some_event(feed, shop)
    stranger = await books.merchant()
    tomorrow = event.created_at + timedelta(days=1)
    assert await feed.event(stranger.id, event.id, LONG_AGO) is None
    assert await ids(feed, stranger) == []
    assert await feed.event(shop.id, event.id, event.created_at) == event
    assert await feed.event(shop.id, event.id, tomorrow) is None
    assert await ids(feed, shop, since=tomorrow) == []
    assert await ids(feed, shop, since=tomorrow, date_from=LONG_AGO) == []


# --- pages and filters


@pytest.fixture(scope="module")
async def full(books: Books) -> tuple[Shop, list[Event]]:
    """A merchant with 25 events of every sort, many of them of the same moment; oldest first."""
    shop, feed = await books.merchant(), EventReads(books.app)
    model = await some_event(feed, shop)
    async with as_merchant(books.app, shop.id) as connection:
        for number in range(24):
            await write(
                connection,
                shop,
                model,
                at=model.created_at - timedelta(minutes=number // 5),
                type_=TYPES[number % 3],
                sandbox=number % 2 == 0,
            )
    rows = await books.fetch("select id from events where merchant_id = :m", m=shop.id)
    events = [await feed.event(shop.id, row["id"], LONG_AGO) for row in rows]
    return shop, sorted((one for one in events if one), key=lambda one: (one.created_at, one.id))


FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda one: True),
    ({"types": [TYPES[1]]}, lambda one: one.type is TYPES[1]),
    ({"types": [TYPES[1], TYPES[2]]}, lambda one: one.type is not TYPES[0]),
    ({"types": []}, lambda one: False),
    ({"is_sandbox": True}, lambda one: one.is_sandbox),
    ({"is_sandbox": False, "types": [TYPES[0]]}, lambda one: not one.is_sandbox and one.type is TYPES[0]),
    ({"object_id": new_id(INVOICE)}, lambda one: False),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 30), wanted=st.sampled_from(FILTERS), ascending=st.booleans())
async def test_pages_give_exactly_what_was_asked_for_in_order(
    full: tuple[Shop, list[Event]], limit: int, wanted: tuple[dict[str, Any], Any], ascending: bool
) -> None:
    shop, events = full
    expected = [one.id for one in (events if ascending else reversed(events)) if wanted[1](one)]
    assert await ids(EventReads(shop.books.app), shop, limit=limit, ascending=ascending, **wanted[0]) == expected


async def test_a_span_of_time_is_kept_exactly(feed: EventReads, full: tuple[Shop, list[Event]]) -> None:
    shop, events = full
    begins, ends = events[5].created_at, events[15].created_at
    expected = [one.id for one in events if begins <= one.created_at < ends]
    assert 0 < len(expected) < len(events)
    assert await ids(feed, shop, ascending=True, date_from=begins, date_to=ends) == expected


# --- reading forward while others write


async def test_an_event_that_commits_late_is_not_skipped_by_who_reads_forward(feed: EventReads, shop: Shop) -> None:
    model = await some_event(feed, shop)
    async with writing(shop, model) as late:
        async with writing(shop, model) as later:
            pass
        # Newest first shows what is committed; reading forward waits for the older one.
        assert await ids(feed, shop) == [later, model.id]
        assert await ids(feed, shop, ascending=True) == [model.id]
    assert await ids(feed, shop, ascending=True) == [model.id, late, later]


async def test_a_booking_that_fails_holds_nobody_up(feed: EventReads, shop: Shop) -> None:
    model = await some_event(feed, shop)
    with pytest.raises(ZeroDivisionError):
        await _failing(shop, model)
    async with writing(shop, model) as later:
        pass
    assert await ids(feed, shop, ascending=True) == [model.id, later]


async def _failing(shop: Shop, model: Event) -> None:
    async with writing(shop, model):
        raise ZeroDivisionError


async def test_who_goes_on_from_the_last_event_misses_none_however_commits_overlap(
    feed: EventReads, shop: Shop
) -> None:
    model = await some_event(feed, shop)
    chance = random.Random(7)
    written: list[str] = []

    async def writer() -> None:
        for _ in range(12):
            async with writing(shop, model) as id_:
                await asyncio.sleep(chance.choice((0, 0.001, 0.02)))  # the rest of a booking, of any length
            written.append(id_)

    read: list[Event] = [model]

    async def read_on() -> None:
        after = (read[-1].created_at, read[-1].id)
        read.extend(await walk(feed, shop, ascending=True, after=after, limit=7))

    writers = asyncio.gather(*(writer() for _ in range(8)))
    while not writers.done():
        await read_on()
    await writers
    await read_on()
    assert {event.id for event in read[1:]} == set(written)
    assert len(read) == 1 + len(written)
    assert read == sorted(read, key=lambda one: (one.created_at, one.id))
