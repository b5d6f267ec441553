"""The event stream against real books on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from api.streams import STREAMS_PER_KEY
from api.v1 import event_stream
from dev.postgres import Database
from domain.errors import Code
from domain.event import EventType
from domain.ids import EVENT, new_id
from domain.invoice import State
from domain.merchant import Mode
from operations.keys import add_key
from tests.api.serving import RunningApi, running_api
from tests.db.books import Books, Shop
from tests.support.api_errors import assert_error
from tests.support.event_stream import STREAM, StreamClient, database_away
from tests.support.waiting import until

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")


@pytest.fixture
async def books(fresh_postgres: Database) -> AsyncIterator[Books]:
    made = Books(fresh_postgres)
    yield made
    await made.close()


@pytest.fixture
async def api(books: Books) -> AsyncIterator[RunningApi]:
    async with running_api(books.database) as running:
        yield running


@pytest.fixture
async def shop(books: Books) -> Shop:
    return await books.merchant()


def opened(api: RunningApi, key: str) -> StreamClient:
    client = StreamClient(api.url, key)
    api.closing.push_async_callback(client.http.aclose)
    return client


async def client_of(api: RunningApi, shop: Shop, mode: Mode = Mode.LIVE) -> StreamClient:
    return opened(api, await add_key(shop.books.registry, shop.id, mode, "stream"))


async def paid(shop: Shop, *, sandbox: bool = False) -> str:
    """One bill and the id of its one event."""
    changes: dict[str, Any] = {"sandbox": sandbox} if sandbox else {}
    invoice = await shop.paid(**changes)
    (event,) = await shop.events(invoice.id)
    return str(event["id"])


async def test_events_come_in_order_as_the_feed_shows_them(api: RunningApi, shop: Shop) -> None:
    client = await client_of(api, shop)
    await paid(shop)  # before the stream began
    async with client.follow() as stream:
        first = await stream.next()
        assert first is not None
        assert (first.data, first.retry) == (None, event_stream.RECONNECT_MILLISECONDS)
        made = [await paid(shop) for _ in range(3)]
        got = [await stream.event() for _ in range(3)]
    assert [event["id"] for event in got] == made
    for event in got:
        assert event == (await client.http.get(f"/api/v1/events/{event['id']}")).json()


async def test_who_comes_back_gets_what_came_meanwhile_and_nothing_twice(api: RunningApi, shop: Shop) -> None:
    client = await client_of(api, shop)
    async with client.follow() as stream:
        opening = await stream.next()
        assert opening is not None
        assert opening.id is not None
    made = [await paid(shop) for _ in range(4)]
    # Before any event: the place that the first message named.
    async with client.follow(opening.id) as stream:
        assert [(await stream.event())["id"] for _ in range(4)] == made
    # After one: the event's own id, in the header or in the URL, of which the header counts.
    async with client.follow(made[1]) as stream:
        assert [(await stream.event())["id"] for _ in range(2)] == made[2:]
    async with client.follow(after=made[0]) as stream:
        assert (await stream.event())["id"] == made[1]
    async with client.follow(made[2], after=made[0]) as stream:
        assert (await stream.event())["id"] == made[3]


async def test_more_than_a_page_is_caught_up_without_a_gap(
    api: RunningApi, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PAGE_SIZE", 3)
    made = [await paid(shop) for _ in range(10)]
    async with (await client_of(api, shop)).follow(made[0]) as stream:
        assert [(await stream.event())["id"] for _ in range(9)] == made[1:]


async def test_an_event_whose_booking_hangs_holds_back_the_younger_ones(
    api: RunningApi, books: Books, shop: Shop
) -> None:
    client = await client_of(api, shop)
    slow = await shop.pending()
    async with client.follow() as stream, books.app.connect() as hanging:
        await stream.next()
        # A transaction of the application's role that is still open: it may write an event with an older moment.
        driver = (await hanging.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute("begin; select 1 from pg_class limit 1")
        younger = await paid(shop)
        next_event = asyncio.create_task(stream.event())
        done, _ = await asyncio.wait({next_event}, timeout=3 * event_stream.LOOK_SECONDS)
        assert not done
        await driver.execute("commit")
        assert (await next_event)["id"] == younger
        await shop.book(slow.id, "paid", State.PAID)
        assert (await stream.event())["data"]["object"]["id"] == slow.id


async def test_filters_choose_and_a_test_key_gets_sandbox_events_only(api: RunningApi, shop: Shop) -> None:
    live, test = await client_of(api, shop), await client_of(api, shop, Mode.TEST)
    async with (
        live.follow(type="refund.completed,invoice.refunded") as refunds,
        live.follow(is_sandbox="false") as money,
        test.follow(is_sandbox="false") as sandbox,
    ):
        for stream in (refunds, money, sandbox):
            await stream.next()
        played = await paid(shop, sandbox=True)
        invoice = await shop.paid()
        await shop.refund(invoice)
        assert (await sandbox.event())["id"] == played
        assert (await money.event())["data"]["object"]["id"] == invoice.id
        assert {(await refunds.event())["type"] for _ in range(2)} == {"refund.completed", "invoice.refunded"}


async def test_another_merchants_events_are_not_shown_and_are_no_places(
    api: RunningApi, books: Books, shop: Shop
) -> None:
    other = await books.merchant()
    theirs = await paid(other)
    client = await client_of(api, shop)
    async with client.follow() as stream:
        await stream.next()
        await paid(other)
        mine = await paid(shop)
        assert (await stream.event())["id"] == mine
    assert_error(await client.http.get(STREAM, params={"after": theirs}), Code.INVALID_REQUEST)
    sandbox = await client_of(api, shop, Mode.TEST)
    assert_error(await sandbox.http.get(STREAM, headers={"Last-Event-ID": mine}), Code.INVALID_REQUEST)


@pytest.mark.parametrize(
    ("params", "headers", "field"),
    [
        ({"type": "invoice.payed"}, {}, "type"),
        ({"is_sandbox": "perhaps"}, {}, "is_sandbox"),
        ({"after": new_id(EVENT)}, {}, "after"),
        ({"after": "a\x00b"}, {}, "after"),
        ({}, {"Last-Event-ID": new_id(EVENT)}, "Last-Event-ID"),
        ({}, {"Last-Event-ID": "nonsense"}, "Last-Event-ID"),
        # A place from long ago: what came since can partly be read no longer, and a gap must not pass in silence.
        ({}, {"Last-Event-ID": "WyIyMDIwLTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwiIl0"}, "Last-Event-ID"),
    ],
)
async def test_what_is_wrong_is_named_before_the_stream_begins(
    api: RunningApi, shop: Shop, params: dict[str, str], headers: dict[str, str], field: str
) -> None:
    client = await client_of(api, shop)
    body = assert_error(await client.http.get(STREAM, params=params, headers=headers), Code.INVALID_REQUEST)
    assert [one["field"] for one in body["errors"]] == [field]
    if field == "type":
        assert all(name in body["errors"][0]["message"] for name in EventType)
    assert len(api.services.streams) == 0


async def test_without_a_key_there_is_no_stream(api: RunningApi) -> None:
    assert_error(await opened(api, "tk_live_nonsense").http.get(STREAM), Code.UNAUTHORIZED)


async def test_the_stream_of_a_revoked_key_ends_and_says_why(
    api: RunningApi, books: Books, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "CHECK_KEY_SECONDS", 0.2)
    client = await client_of(api, shop)
    async with client.follow() as stream:
        await stream.next()
        event = await paid(shop)
        assert (await stream.event())["id"] == event
        (key,) = await books.registry.keys(shop.id)
        assert await books.registry.revoke_key(key.id)
        (end,) = await stream.to_end()
    assert (end.event, msgspec.json.decode(end.data or b"")["error"]) == ("error", Code.UNAUTHORIZED)


async def test_while_the_database_is_away_the_stream_waits_and_then_goes_on(
    api: RunningApi, books: Books, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.1)
    client = await client_of(api, shop)
    async with client.follow() as stream:
        await stream.next()
        async with database_away(books.database):
            while b"the database is away" not in stream.comments:
                message = await stream.next()
                assert message is not None
                assert message.data is None
        event = await paid(shop)
        assert (await stream.event())["id"] == event


async def test_a_database_that_stays_away_ends_the_stream_with_its_code_and_the_place_stays_good(
    api: RunningApi, books: Books, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "AWAY_SECONDS", 1.0)
    client = await client_of(api, shop)
    async with client.follow() as stream:
        opening = await stream.next()
        assert opening is not None
        async with database_away(books.database):
            (end,) = await stream.to_end()
    assert (end.event, msgspec.json.decode(end.data or b"")["error"]) == ("error", Code.DATABASE_UNAVAILABLE)
    # The more often the database was away, the later is the next look: not before a stream as short-lived gives up.
    monkeypatch.setattr(event_stream, "AWAY_SECONDS", 30.0)
    event = await paid(shop)
    async with client.follow(opening.id) as stream:
        assert (await stream.event())["id"] == event


async def test_a_stream_too_many_ends_the_oldest_of_the_key(api: RunningApi, shop: Shop) -> None:
    client, other = await client_of(api, shop), await client_of(api, shop)
    async with client.follow() as oldest, other.follow() as others:
        await oldest.next()
        more = [client.follow() for _ in range(STREAMS_PER_KEY)]
        streams = [await one.__aenter__() for one in more]
        (end,) = await oldest.to_end()
        assert (end.event, msgspec.json.decode(end.data or b"")["reason"]) == ("closed", "replaced")
        event = await paid(shop)
        for stream in [*streams, others]:
            assert (await stream.event())["id"] == event
        for one in more:
            await one.__aexit__(None, None, None)


async def test_who_goes_away_leaves_nothing_behind(api: RunningApi, shop: Shop) -> None:
    client = await client_of(api, shop)
    async with client.follow() as stream:
        await stream.next()
        assert len(api.services.streams) == 1

    async def free() -> bool:
        return len(api.services.streams) == 0

    await until(free, "the stream's place to be free")


async def test_a_quiet_stream_has_a_heartbeat_that_names_the_place(
    api: RunningApi, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.1)
    client = await client_of(api, shop)
    async with client.follow(type="refund.failed") as stream:
        opening = await stream.next()
        assert opening is not None
        event = await paid(shop)  # not wanted, and passed by all the same
        places = {opening.id}
        while len(places) < 2:
            message = await stream.next()
            assert message is not None
            assert message.data is None
            places.add(message.id)
        assert b": heartbeat" in stream.comments
    (place,) = places - {opening.id}
    later = await paid(shop)
    async with client.follow(place) as stream:
        assert (await stream.event())["id"] == later != event


async def test_a_server_that_stops_ends_its_streams_and_the_place_stays_good(books: Books, shop: Shop) -> None:
    async with running_api(books.database) as running:
        client = await client_of(running, shop)
        async with client.follow() as stream:
            opening = await stream.next()
            assert opening is not None
            running.server.should_exit = True
            (end,) = await stream.to_end()
    assert (end.event, msgspec.json.decode(end.data or b"")["reason"]) == ("closed", "shutdown")
    event = await paid(shop)
    async with running_api(books.database) as running:
        client = opened(running, client.http.headers["x-api-key"])
        async with client.follow(opening.id) as stream:
            assert (await stream.event())["id"] == event
