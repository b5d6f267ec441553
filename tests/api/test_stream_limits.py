"""Event streams that nobody reads, too many of them, and a database that hangs: each ends, and none goes silent."""

import asyncio
import errno
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from api import event_answer, looks
from api.looks import Looks
from api.streams import LEAVING_PER_PROCESS, STREAMS_PER_KEY, Reason, Streams
from api.v1 import event_stream
from db.errors import DatabaseUnavailable
from dev.postgres import Database
from domain.errors import Code
from domain.merchant import Mode
from operations.event_source import Message
from operations.keys import add_key
from tests.api.serving import RunningApi, running_api
from tests.db.books import Books, Shop
from tests.support.event_stream import STREAM, Following, StreamClient
from tests.support.waiting import until

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

# More than the server and the narrow sockets below keep for a client that does not read.
BACKLOG = 10
LONG = "Чек " * 8000
NARROW = 8192
MANY_KEYS = 6


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


async def key_of(shop: Shop) -> str:
    return await add_key(shop.books.registry, shop.id, Mode.LIVE, "stream")


async def paid(shop: Shop, **changes: Any) -> str:
    (event,) = await shop.events((await shop.paid(**changes)).id)
    return str(event["id"])


async def backlog(shop: Shop) -> str:
    """Many long events; the id of one before them."""
    first = await paid(shop)
    for _ in range(BACKLOG):
        await paid(shop, description=LONG)
    return first


@asynccontextmanager
async def unread_streams(
    api: RunningApi, key: str, after: str, count: int, *, stuck: bool = True
) -> AsyncIterator[list[socket.socket]]:
    """Clients that ask for the stream and read nothing of it; each is stuck when the next one comes."""
    address = urlsplit(api.url)
    asked = f"GET {STREAM}?after={after} HTTP/1.1\r\nHost: pay\r\nX-API-Key: {key}\r\n\r\n".encode()
    (listener,) = api.server.servers[0].sockets
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
    loop = asyncio.get_running_loop()
    with ExitStack() as sockets:
        made = []
        for _ in range(count):
            one = sockets.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
            one.setblocking(False)
            await loop.sock_connect(one, (address.hostname, address.port))
            await loop.sock_sendall(one, asked)
            if stuck:
                await until(partial(waits_for_its_reader, api, one.getsockname()), "the stream to be stuck")
            made.append(one)
        yield made


async def waits_for_its_reader(api: RunningApi, client: tuple[str, int]) -> bool:
    connections: set[Any] = api.server.server_state.connections
    return any(one.client == client and one.flow.write_paused for one in connections)


async def only_left(api: RunningApi, count: int) -> None:
    """Places and sockets: neither may be had without the other."""

    async def left() -> bool:
        return len(api.services.streams) == len(api.server.server_state.connections) == count

    await until(left, f"{count} streams to be left")


async def test_streams_that_nobody_reads_are_gone_when_newer_ones_take_their_places(
    api: RunningApi, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_answer, "SEND_SECONDS", 3600.0)  # they go for the newer ones, not for their silence
    first = await backlog(shop)
    async with unread_streams(api, await key_of(shop), first, STREAMS_PER_KEY + 4):
        await only_left(api, STREAMS_PER_KEY)
    await only_left(api, 0)


async def test_a_server_that_stops_does_not_wait_for_clients_that_do_not_read(
    books: Books, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    first = await backlog(shop)
    key = await key_of(shop)
    async with AsyncExitStack() as clients:
        async with running_api(books.database) as running:
            await clients.enter_async_context(unread_streams(running, key, first, 3))
        assert not running.server.server_state.connections
    assert "graceful shutdown exceeded" not in caplog.text
    assert "Exception in ASGI application" not in caplog.text
    assert "ASGI callable returned" not in caplog.text


async def test_a_client_that_takes_in_nothing_is_cut_off(
    api: RunningApi, shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = await backlog(shop)
    monkeypatch.setattr(event_answer, "SEND_SECONDS", 0.3)
    async with unread_streams(api, await key_of(shop), first, 1, stuck=False) as (client,):

        async def cut() -> bool:
            return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET

        await until(cut, "the connection to be reset")
        await only_left(api, 0)
    assert "ASGI" not in caplog.text


async def test_a_stream_that_has_no_place_yet_takes_none_when_the_server_stops() -> None:
    streams = Streams()
    early = streams.open("mer_1", "key_1", None)
    streams.stop()
    late = streams.open("mer_1", "key_1", None)
    assert [early.reason, late.reason] == [Reason.SHUTDOWN] * 2


async def test_a_full_process_takes_the_place_of_the_merchant_that_has_most() -> None:
    streams = Streams(per_key=3, per_process=6)
    lonely = streams.open("mer_1", "key_1", None)
    many_keys = [streams.open("mer_2", f"key_2{number}", None) for number in range(3)]
    one_key = [streams.open("mer_3", "key_3", None) for _ in range(2)]
    newcomer = streams.open("mer_4", "key_4", None)
    ended = [one.reason for one in (lonely, *many_keys, *one_key, newcomer)]
    assert ended == [None, Reason.CROWDED, None, None, None, None, None]
    # Two and two: who opens a third one gives its own, though the other's are older or as many.
    assert streams.open("mer_3", "key_3", None).reason is None
    assert [one.reason for one in (*many_keys[1:], *one_key)] == [None, None, Reason.CROWDED, None]


async def test_a_place_is_taken_until_the_stream_is_gone_and_few_are_on_their_way_out() -> None:
    streams = Streams(per_key=2)
    opened = [streams.open("mer_1", "key_1", None) for _ in range(6)]
    assert [one.reason for one in opened] == [Reason.REPLACED] * 4 + [None] * 2
    assert [one.was_cut for one in opened] == [True] * 2 + [False] * 4
    assert len(streams) == 6
    for one in (*opened, opened[0]):
        one.close()
    assert len(streams) == 0

    full = Streams(per_process=1)
    opened = [full.open(f"mer_{number}", f"key_{number}", None) for number in range(LEAVING_PER_PROCESS + 3)]
    assert Counter((one.reason, one.was_cut) for one in opened) == {
        (Reason.CROWDED, True): 2,
        (Reason.CROWDED, False): LEAVING_PER_PROCESS,
        (None, False): 1,
    }


async def test_a_full_server_says_so(api: RunningApi, books: Books, shop: Shop) -> None:
    api.services.streams._per_process = 2
    async with AsyncExitStack() as stack:
        oldest, other = [await followed(stack, api, await key_of(shop)) for _ in range(2)]
        await followed(stack, api, await key_of(await books.merchant()))
        assert reason_of(await oldest.to_end()) == ("closed", "crowded")
        event = await paid(shop)
        assert (await other.event())["id"] == event


async def followed(stack: AsyncExitStack, api: RunningApi, key: str) -> Following:
    client = StreamClient(api.url, key)
    stack.push_async_callback(client.http.aclose)
    stream = await stack.enter_async_context(client.follow())
    assert await stream.next()
    return stream


async def many(stack: AsyncExitStack, api: RunningApi, shop: Shop) -> list[Following]:
    keys = [await key_of(shop) for _ in range(MANY_KEYS)]
    return [await followed(stack, api, key) for key in keys for _ in range(STREAMS_PER_KEY)]


def reason_of(messages: list[Message]) -> tuple[str, str]:
    (end,) = messages
    said = msgspec.json.decode(end.data or b"")
    return end.event, said.get("reason") or said["error"]


@asynccontextmanager
async def hanging_reads(database: Database) -> AsyncIterator[None]:
    """Whoever reads events waits, until Postgres gives up on the lock after seconds."""
    admin = await asyncpg.connect(database.dsn("postgres"), database=database.name)
    try:
        await admin.execute("begin; lock table events in access exclusive mode")
        yield
        await admin.execute("rollback")
    finally:
        await admin.close()


async def test_while_the_database_hangs_every_stream_has_its_heartbeat_and_sees_the_end(
    books: Books, shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.2)
    async with AsyncExitStack() as stack, running_api(books.database) as running, hanging_reads(books.database):
        key = await key_of(shop)
        # More than may look at once; all are open before the first look has failed.
        streams = [await followed(stack, running, key) for _ in range(STREAMS_PER_KEY)]
        for stream in streams:
            while not stream.comments:
                message = await stream.next()
                assert message is not None
                assert message.data is None
            # On a slow machine the first look has failed by then.
        assert all(one.comments.startswith((b": heartbeat", b": the database is away")) for one in streams)
        running.server.should_exit = True
        ends = await asyncio.gather(*(one.to_end() for one in streams))
    assert {reason_of(end) for end in ends} == {("closed", "shutdown")}
    assert "graceful shutdown exceeded" not in caplog.text


async def test_a_database_that_hangs_for_long_ends_every_stream_with_its_code(
    api: RunningApi, books: Books, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "AWAY_SECONDS", 1.0)
    async with AsyncExitStack() as stack, hanging_reads(books.database):
        streams = await many(stack, api, shop)
        ends = await asyncio.gather(*(one.to_end() for one in streams))
    assert {reason_of(end) for end in ends} == {("error", Code.DATABASE_UNAVAILABLE)}


async def test_an_outage_that_nobody_saw_the_end_of_does_not_count_for_a_new_stream(
    api: RunningApi, books: Books, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.1)
    api.services.streams.looks._away_since = time.monotonic() - 3600
    async with AsyncExitStack() as stack:
        async with hanging_reads(books.database):
            stream = await followed(stack, api, await key_of(shop))
            message = await stream.next()
            assert message is not None
            assert message.data is None
        event = await paid(shop)
        assert (await stream.event())["id"] == event


async def as_often(begun: Counter[str], what: str, times: int) -> bool:
    return begun[what] == times


async def test_who_waits_for_a_look_does_not_look_when_another_has_found_the_database_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looks, "FIRST_WAIT_SECONDS", 3600.0)
    monkeypatch.setattr(looks, "LONGEST_WAIT_SECONDS", 3600.0)
    together, begun, let_go = Looks(at_once=3), Counter[str](), asyncio.Event()

    async def fails() -> str:
        begun["fails"] += 1
        await let_go.wait()
        raise DatabaseUnavailable

    waiting = [asyncio.create_task(together.take(fails)) for _ in range(10)]
    await until(lambda: as_often(begun, "fails", 3), "three looks")
    let_go.set()
    assert await asyncio.gather(*waiting) == [None] * 10
    assert begun["fails"] == 3
    assert await together.take(fails) is None
    assert begun["fails"] == 3

    # When it is time again one asks for all, and its answer sets all free.
    together._next_try = 0.0
    answered = asyncio.Event()

    async def succeeds() -> str:
        begun["succeeds"] += 1
        await answered.wait()
        return "page"

    first = asyncio.create_task(together.take(succeeds))
    await until(lambda: as_often(begun, "succeeds", 1), "the one look")
    assert await together.take(succeeds) is None
    answered.set()
    assert await first == "page"
    assert together.away_since is None
    assert await together.take(succeeds) == "page"


async def test_a_look_that_never_ends_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "LOOK_LIMIT_SECONDS", 0.05)
    together = Looks(at_once=1)

    async def frozen() -> str:
        await asyncio.Event().wait()
        return "never"

    assert await together.take(frozen) is None
    assert together.away_since is not None
    together._next_try = 0.0
    assert await together.take(frozen) is None
