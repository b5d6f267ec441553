"""Wishes to send again: booked once for each key, with the same bytes, and due at once."""

import asyncio

import msgspec
import pytest
from sqlalchemy import text

from db.delivery_reads import DeliveryReads
from db.engine import as_merchant
from db.errors import KeyTaken
from db.event_reads import EventReads
from db.replaying import Receiver, Replaying, ReplayKey, Wish, ensure_delivery
from domain.event import AttemptOutcome, Delivery, DeliveryState, Dialect
from domain.invoice import State
from domain.merchant import Mode
from domain.rendering import Event
from tests.db.books import Books, Shop, at_once, waiting_for_a_lock
from tests.db.test_event_reads import LONG_AGO

FAILED = AttemptOutcome(
    delivered=False, status=503, error="http_status", latency_ms=1, excerpt="", dead=False, wait=3600.0
)


@pytest.fixture
def replaying(books: Books) -> Replaying:
    return Replaying(books.app, books.renderer)


@pytest.fixture
def reads(books: Books) -> DeliveryReads:
    return DeliveryReads(books.app)


def a_wish(shop: Shop, cause: str = "c1", key: ReplayKey | None = None) -> Wish:
    return Wish(merchant_id=shop.id, cause=cause, asked_by="key_1", request_id="req_1", key=key)


def a_key(key: str = "k", fingerprint: str = "f") -> ReplayKey:
    return ReplayKey(
        mode=Mode.LIVE,
        operation="retry",
        key=key,
        fingerprint=fingerprint,
        status=202,
        answer=lambda deliveries: msgspec.json.encode([one.id for one in deliveries]),
    )


async def told(shop: Shop) -> Event:
    """An event of a paid bill, announced to whoever listens."""
    invoice = await shop.pending()
    await shop.book(invoice.id, "paid", State.PAID)
    feed = EventReads(shop.books.app)
    events = await shop.events(invoice.id)
    event = await feed.event(shop.id, events[-1]["id"], LONG_AGO)
    assert event is not None
    return event


async def delivery_of(shop: Shop, event: Event) -> Delivery:
    rows = await shop.books.fetch("select id from deliveries where event_id = :id", id=event.id)
    found = await DeliveryReads(shop.books.app).delivery(shop.id, rows[0]["id"])
    assert found is not None
    return found


async def ensured(shop: Shop, event: Event, endpoint: str, dialect: Dialect = Dialect.V1) -> str:
    async with as_merchant(shop.books.app, shop.id) as connection:
        return await ensure_delivery(connection, shop.books.renderer, event, endpoint, dialect)


async def test_a_missing_delivery_is_made_once_however_many_ask(shop: Shop, reads: DeliveryReads) -> None:
    event = await told(shop)
    endpoint = await shop.endpoint("refund.failed")
    made = set(await at_once(10, lambda _: ensured(shop, event, endpoint)))
    assert len(made) == 1
    found = await reads.detail(shop.id, made.pop())
    assert found is not None
    assert (found.delivery.state, found.delivery.attempts, found.delivery.event_id) == ("pending", 0, event.id)
    assert found.delivery.next_attempt_at is not None
    assert found.body == shop.books.renderer.webhook(event, endpoint, Dialect.V1)


async def test_who_makes_the_same_delivery_meanwhile_has_the_word(books: Books, shop: Shop) -> None:
    event = await told(shop)
    endpoint = await shop.endpoint()
    async with as_merchant(books.app, shop.id) as connection:
        first = await ensure_delivery(connection, books.renderer, event, endpoint, Dialect.V1)
        second = asyncio.create_task(ensured(shop, event, endpoint))
        await waiting_for_a_lock(books, "insert into deliveries")
    assert await second == first


async def test_a_made_delivery_speaks_the_endpoints_dialect(shop: Shop, reads: DeliveryReads) -> None:
    event = await told(shop)
    endpoint = await shop.endpoint()
    found = await reads.detail(shop.id, await ensured(shop, event, endpoint, Dialect.APIPAY))
    assert found is not None
    assert found.body == shop.books.renderer.webhook(event, endpoint, Dialect.APIPAY)
    assert msgspec.json.decode(found.body)["event"] == "invoice.status_changed"


async def test_a_delivery_that_exists_is_left_as_it_is(books: Books, shop: Shop, reads: DeliveryReads) -> None:
    endpoint = await shop.endpoint()
    event = await told(shop)
    before = await delivery_of(shop, event)
    await books.attempted(shop.id, before.id, msgspec.structs.replace(FAILED, dead=True, wait=None), disable_after=1e9)
    dead = await delivery_of(shop, event)
    assert await ensured(shop, event, endpoint) == before.id
    assert await delivery_of(shop, event) == dead


@pytest.mark.parametrize("end", [DeliveryState.DEAD, DeliveryState.DELIVERED])
async def test_what_is_settled_is_due_again_with_a_whole_schedule(
    books: Books, shop: Shop, replaying: Replaying, end: DeliveryState
) -> None:
    await shop.endpoint()
    before = await delivery_of(shop, await told(shop))
    await books.attempted(shop.id, before.id, FAILED, disable_after=1e9)
    delivered = end is DeliveryState.DELIVERED
    last = msgspec.structs.replace(FAILED, delivered=delivered, dead=not delivered, wait=None)
    await books.attempted(shop.id, before.id, last, disable_after=1e9)
    sent = await books.deliveries.due(shop.id, before.id)
    assert sent is not None
    settled = await replaying_state(shop, before.id)
    assert settled.state is end
    again = await replaying.retry(a_wish(shop), settled)
    due = await books.deliveries.due(shop.id, before.id)
    assert due is not None
    assert (due.state, due.failures, due.attempts, due.body) == (DeliveryState.PENDING, 0, 2, sent.body)
    assert (again.state, again.attempts, again.delivered_at) == (DeliveryState.PENDING, 2, settled.delivered_at)
    assert again.replayed_at is not None
    assert again.next_attempt_at == again.replayed_at


async def test_what_waits_loses_its_wait_and_keeps_its_place(books: Books, shop: Shop, replaying: Replaying) -> None:
    await shop.endpoint()
    before = await delivery_of(shop, await told(shop))
    await books.attempted(shop.id, before.id, FAILED, disable_after=1e9)
    waiting = await replaying_state(shop, before.id)
    again = await replaying.retry(a_wish(shop), waiting)
    due = await books.deliveries.due(shop.id, before.id)
    assert due is not None
    assert (due.failures, again.replayed_at, again.attempts) == (1, None, 1)
    assert again.next_attempt_at is not None
    assert waiting.next_attempt_at is not None
    assert again.next_attempt_at < waiting.next_attempt_at


async def replaying_state(shop: Shop, delivery_id: str) -> Delivery:
    found = await DeliveryReads(shop.books.app).delivery(shop.id, delivery_id)
    assert found is not None
    return found


async def test_one_key_is_one_wish_and_the_second_changes_nothing(shop: Shop, replaying: Replaying) -> None:
    await shop.endpoint()
    first, second = [await delivery_of(shop, await told(shop)) for _ in range(2)]
    key = a_key()
    await replaying.retry(a_wish(shop, "c1", key), first)
    with pytest.raises(KeyTaken):
        await replaying.retry(a_wish(shop, "c2", key), second)
    assert await replaying_state(shop, second.id) == second
    kept = await shop.books.reads.kept_answer(shop.id, Mode.LIVE, "retry", "k")
    assert kept is not None
    assert (kept.status, kept.body, kept.resource_id) == (202, msgspec.json.encode([first.id]), first.id)


async def test_of_many_at_once_with_one_key_one_is_booked(shop: Shop, replaying: Replaying) -> None:
    await shop.endpoint()
    one = await delivery_of(shop, await told(shop))

    async def ask(number: int) -> str:
        try:
            await replaying.retry(a_wish(shop, f"c{number}", a_key()), one)
        except KeyTaken:
            return "taken"
        return f"c{number}"

    outcomes = await at_once(8, ask)
    (winner,) = [outcome for outcome in outcomes if outcome != "taken"]
    rows = await shop.books.fetch("select replay from deliveries where id = :id", id=one.id)
    assert rows == [{"replay": winner}]


async def test_a_resend_reaches_old_and_new_endpoints_and_is_told_in_the_audit_log(
    shop: Shop, replaying: Replaying
) -> None:
    old = await shop.endpoint()
    event = await told(shop)
    before = await delivery_of(shop, event)
    new = await shop.endpoint("refund.failed")
    receivers = [Receiver(new, Dialect.V1), Receiver(old, Dialect.V1)]
    again = await replaying.resend(a_wish(shop), event, receivers)
    assert [one.endpoint_id for one in again] == sorted([old, new])
    assert {one.endpoint_id: one.id for one in again}[old] == before.id
    assert {one.state for one in again} == {DeliveryState.PENDING}
    rows = await shop.books.fetch(
        "select actor_id, object_id, request_id from audit_log where merchant_id = :m and action = 'event.resent'",
        m=shop.id,
    )
    assert rows == [{"actor_id": "key_1", "object_id": event.id, "request_id": "req_1"}]


async def test_resends_that_overlap_do_not_lock_each_other_out(shop: Shop, replaying: Replaying) -> None:
    endpoints = [Receiver(await shop.endpoint(), Dialect.V1) for _ in range(6)]
    event = await told(shop)
    asked = await at_once(
        8, lambda n: replaying.resend(a_wish(shop, f"c{n}"), event, endpoints[n % 3 :][:: 1 if n % 2 else -1])
    )
    assert all(one.state is DeliveryState.PENDING for again in asked for one in again)


async def test_nobody_replays_another_merchants_delivery(books: Books, shop: Shop, replaying: Replaying) -> None:
    await shop.endpoint()
    one = await delivery_of(shop, await told(shop))
    stranger = await books.merchant()
    with pytest.raises(ValueError, match="not enough values"):
        await replaying.retry(a_wish(stranger), one)
    assert await replaying_state(shop, one.id) == one
    async with as_merchant(books.app, stranger.id) as connection:
        assert (await connection.execute(text("select count(*) from deliveries"))).scalar_one() == 0
