"""`tolem listen` as a developer runs it: a process, the real API over real books, a server on this machine."""

import asyncio
import hashlib
import hmac
import json
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from api.v1 import event_stream
from contracts.rendering import Contracts
from dev.ports import free_port
from dev.postgres import Database
from domain.event import Dialect
from domain.merchant import Mode
from operations import following
from operations.api_client import ApiClient
from operations.event_source import Parser
from operations.following import Connected, Event, Following, Lost
from operations.keys import add_key
from operations.listening import ENDPOINT_ID
from runtime.secrets import Secret
from tests.api.serving import PUBLIC_URL, RunningApi, running_api
from tests.db.books import Books, Shop
from tests.support.cli import Listening, ended, kill_all, tolem
from tests.support.event_stream import StreamClient, database_away
from tests.support.receiver import Answer, WebhookReceiver
from webhooks.sender import USER_AGENT
from webhooks.signing import new_secret, verify

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = [pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning"), pytest.mark.long]


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


@pytest.fixture
async def key(shop: Shop) -> str:
    return await add_key(shop.books.registry, shop.id, Mode.LIVE, "laptop")


@pytest.fixture(autouse=True)
async def _nothing_left_running() -> AsyncIterator[None]:
    yield
    await kill_all()


async def paid(shop: Shop, **changes: Any) -> str:
    """One bill and the id of its one event."""
    invoice = await shop.paid(**changes)
    (event,) = await shop.events(invoice.id)
    return str(event["id"])


def about(event_id: str) -> Any:
    return lambda one: one.headers["webhook-id"] == event_id


async def test_an_event_arrives_exactly_as_production_would_send_it(
    api: RunningApi, shop: Shop, key: str, receiver: WebhookReceiver
) -> None:
    secret = new_secret()
    words = ("--forward-to", receiver.url, "--key", key, "--api", api.url, "--secret", secret)
    listening = await Listening.start(*words)
    # Line ends of other standards, markup and a quote: nothing of them may break the way.
    text = 'Кофе \u2028 🫖 \u0085 [red] " \\ \n'
    event_id = await paid(shop, description=text)
    (got,) = await receiver.wait_for(about(event_id))
    line = await listening.until(event_id)

    event = await api.services.events.event(shop.id, event_id, got.at - timedelta(days=1))
    assert event is not None
    assert got.body == Contracts(PUBLIC_URL).webhook(event, ENDPOINT_ID, Dialect.V1)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == USER_AGENT
    verify(secret, got.headers, got.body, got.at, timedelta(minutes=5))
    Webhook(secret).verify(got.body, dict(got.headers))
    expected = hmac.new(secret.encode(), got.body, hashlib.sha256).hexdigest()
    assert got.headers["x-webhook-signature"] == f"sha256={expected}"

    bill = json.loads(got.body)["data"]["object"]["id"]
    assert all(part in line for part in ("invoice.status_changed", bill, "paid"))
    assert " 200 " in line
    assert line.endswith("ms")
    assert "\x1b" not in "".join(listening.said)  # no colours: this is no terminal
    end = await listening.stop()
    assert "1 delivered, 0 failed." in end
    assert f"--after {event_id}" in end


async def test_it_comes_back_after_an_outage_and_neither_loses_nor_repeats(
    books: Books, shop: Shop, key: str, receiver: WebhookReceiver
) -> None:
    port = free_port()
    words = ("--forward-to", receiver.url, "--key", key, "--api", f"http://127.0.0.1:{port}")
    listening = await Listening.start(*words, connected=False)
    await listening.until("cannot be reached")  # nobody is there yet
    async with running_api(books.database, port):
        await listening.until("Forwarding to")
        made = []
    # Away before the first event: it goes on from where it began.
    await listening.until("Trying again in")
    made += [await paid(shop) for _ in range(2)]
    async with running_api(books.database, port):
        await listening.until("Connected again")
        await receiver.wait_for(count=2)
        made.append(await paid(shop))
        await receiver.wait_for(count=3)
        await listening.until(made[-1])
    await listening.until("Trying again in")
    made += [await paid(shop) for _ in range(3)]
    async with running_api(books.database, port):
        await listening.until(made[-1])
        end = await listening.stop()
    assert "6 delivered, 0 failed." in end
    assert [one.headers["webhook-id"] for one in receiver.requests] == made


async def test_it_waits_for_a_database_that_is_away(
    api: RunningApi, books: Books, shop: Shop, key: str, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "AWAY_SECONDS", 0.2)
    listening = await Listening.start("--forward-to", receiver.url, "--key", key, "--api", api.url)
    async with database_away(books.database):
        # First the stream that was open ends with the code, then a new one is refused with it.
        for _ in range(2):
            assert "database_unavailable" in await listening.until("Trying again in")
    event = await paid(shop)
    await listening.until("Connected again")
    await listening.until(event)
    assert "1 delivered, 0 failed." in await listening.stop()


async def test_a_server_that_is_down_or_refuses_is_told_and_the_next_event_comes(
    api: RunningApi, shop: Shop, key: str
) -> None:
    receiver = WebhookReceiver()
    await receiver.start()
    url = receiver.url
    listening = await Listening.start("--forward-to", url, TOLEM_API_KEY=key, TOLEM_API_URL=api.url)
    try:
        receiver.answer_next(
            Answer(status=500, body=b"no such table: \x1b[31mbills"), Answer(drop=True), Answer(status=204)
        )
        assert " 500 http_status" in await listening.until(await paid(shop))
        assert "no such table:  [31mbills" in await listening.until("no such table")
        assert "connection_reset" in await listening.until(await paid(shop))
        assert " 204 " in await listening.until(await paid(shop))
    finally:
        await receiver.stop()
    assert "connect_failed" in await listening.until(await paid(shop))
    assert "1 delivered, 3 failed." in await listening.stop()


async def test_with_retry_an_event_is_repeated_until_it_is_taken(
    api: RunningApi, shop: Shop, key: str, receiver: WebhookReceiver
) -> None:
    receiver.answer_next(Answer(status=503), Answer(status=503))
    listening = await Listening.start("--forward-to", receiver.url, "--key", key, "--api", api.url, "--retry")
    made = [await paid(shop), await paid(shop)]
    await listening.until(made[1])
    assert [one.headers["webhook-id"] for one in receiver.requests] == [made[0]] * 3 + [made[1]]
    assert len({one.headers["webhook-timestamp"] for one in receiver.requests[:3]}) == 3  # signed anew
    assert "2 delivered, 0 failed." in await listening.stop()


async def test_events_and_the_place_to_begin_can_be_chosen_and_a_secret_kept(
    api: RunningApi, shop: Shop, key: str, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    first = await paid(shop)
    invoice = await shop.paid()
    await shop.refund(invoice)
    place = ("--forward-to", receiver.url.replace("127.0.0.1", "localhost"), "--key", key, "--api", api.url)
    words = (*place, "--after", first, "--events", "refund.*", "--secret-file", str(file))
    listening = await Listening.start(*words)
    await listening.until("refund.completed")
    await listening.stop()
    (got,) = receiver.requests
    secret = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    verify(secret, got.headers, got.body, got.at, timedelta(minutes=5))
    again = await Listening.start(*words)
    await again.until("refund.completed")
    assert secret not in "".join(again.said)
    await again.stop()
    verify(secret, receiver.requests[1].headers, receiver.requests[1].body, got.at, timedelta(minutes=5))
    assert file.read_text().strip() == secret


async def test_a_secret_that_is_made_is_shown_once_and_is_the_one(
    api: RunningApi, shop: Shop, key: str, receiver: WebhookReceiver
) -> None:
    listening = await Listening.start("--forward-to", receiver.url, "--key", key, "--api", api.url)
    (shown,) = [word for line in listening.said for word in line.split() if word.startswith("whsec_")]
    await paid(shop)
    (got,) = await receiver.wait_for()
    verify(shown, got.headers, got.body, got.at, timedelta(minutes=5))
    assert shown not in await listening.stop()


async def test_a_key_that_is_revoked_or_unknown_ends_it_with_the_code(
    books: Books, shop: Shop, key: str, receiver: WebhookReceiver
) -> None:
    port = free_port()
    words = ("--forward-to", receiver.url, "--key", key, "--api", f"http://127.0.0.1:{port}")
    async with running_api(books.database, port):
        listening = await Listening.start(*words)
    await listening.until("Trying again in")
    (row,) = await books.registry.keys(shop.id)
    assert await books.registry.revoke_key(row.id)
    async with running_api(books.database, port):
        code, out, err = await ended(listening.process)
    assert code == 1
    assert "unauthorized: The X-API-Key header is missing, wrong or revoked." in err
    assert "0 delivered" in out


async def test_who_is_pushed_out_by_a_newer_listener_says_so_and_does_not_push_back(
    api: RunningApi, key: str, receiver: WebhookReceiver
) -> None:
    api.services.streams._per_key = 1
    words = ("--forward-to", receiver.url, "--key", key, "--api", api.url)
    first = await Listening.start(*words)
    second = await Listening.start(*words)
    code, _, err = await ended(first.process)
    assert (code, "A newer stream of this key took this place" in err) == (1, True)
    await second.stop()


async def test_a_run_without_an_event_names_its_place_and_the_next_one_goes_on_there(
    api: RunningApi, shop: Shop, key: str, receiver: WebhookReceiver
) -> None:
    words = ("--forward-to", receiver.url, "--key", key, "--api", api.url)
    end = await (await Listening.start(*words)).stop()
    (place,) = [line.split()[-1] for line in end.splitlines() if line.startswith("Go on from here with --after ")]
    assert not place.startswith("evt_")
    meanwhile = await paid(shop)
    again = await Listening.start(*words, "--after", place)
    await again.until(meanwhile)
    assert f"--after {meanwhile}" in await again.stop()


async def test_it_is_connected_when_the_stream_has_said_where_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "WAITS", (0.05,))
    # What a dying API sends: only the headers; no place yet; the place; nothing again; the place of the last time.
    scripts = [b"", b": heartbeat\n\nretry: 2000\n\n", b"id: place_1\n\n", b"", b"id: place_2\n\n"]
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        asked.extend([line.split(": ")[1] for line in head.splitlines() if line.startswith("last-event-id")] or [""])
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + scripts.pop(0)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, ApiClient(f"http://{host}:{port}", Secret("tk_live_any")) as client:
        news = Following(client).news()
        async with aclosing(news), asyncio.timeout(30):
            got = [await anext(news) for _ in range(6)]
    lost = Lost("the connection ended", 0.05)
    assert got == [lost, lost, Connected(again=False), lost, lost, Connected(again=True)]
    assert asked == ["", "", "", "place_1", "place_1"]


async def test_who_makes_room_in_a_full_server_comes_back_later(
    api: RunningApi, books: Books, shop: Shop, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "WAITS", (0.05, 0.1, 0.2))
    api.services.streams._per_process = 1
    other = StreamClient(api.url, await add_key(books.registry, (await books.merchant()).id, Mode.LIVE, "other"))
    async with ApiClient(api.url, Secret(key)) as client, other.http, asyncio.timeout(60):
        news = Following(client).news()
        async with aclosing(news):
            assert await anext(news) == Connected(again=False)
            async with other.follow() as stream:
                await stream.next()
                end = await anext(news)
                assert isinstance(end, Lost)
                assert "The server has all the streams it can hold" in end.why
                assert end.wait == 0.2
            assert await anext(news) == Connected(again=True)
            event = await paid(shop)
            arrived = await anext(news)
            assert isinstance(arrived, Event)
            assert arrived.id == event


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--forward-to", "http://localhost:1/"), 2, "Give a key"),
        (("--forward-to", "http://localhost:1/", "--key", "tk_live_typo"), 2, "not an API key"),
        (("--forward-to", "localhost:1/hook", "--key", "KEY"), 2, "--forward-to: write a whole URL"),
        (("--forward-to", "http://u:p@localhost:1/", "--key", "KEY"), 2, "--forward-to:"),
        (("--forward-to", "http://localhost:1/", "--key", "KEY", "--events", "invoice.payed"), 2, "invoice.payed"),
        (("--forward-to", "http://localhost:1/", "--key", "KEY", "--secret", "hunter2"), 2, "--secret: a webhook"),
        (
            ("--forward-to", "http://localhost:1/", "--key", "KEY", "--secret-file", "/nowhere/at/all"),
            2,
            "No such file",
        ),
        (("--forward-to", "http://localhost:1/", "--key", "KEY", "--api", "nonsense"), 2, "--api: write a URL"),
        (("--forward-to", "http://localhost:1/", "--key", "KEY", "--after", "evt_nothing"), 1, "Last-Event-ID: There"),
    ],
)
async def test_what_is_wrong_is_told_at_once(
    api: RunningApi, key: str, words: tuple[str, ...], code: int, told: str
) -> None:
    typed = [key if word == "KEY" else word for word in words]
    address = () if "--api" in words else ("--api", api.url)
    got, _, err = await ended(await tolem("listen", *typed, *address))
    assert (got, told in err) == (code, True), err


def test_every_cut_of_a_stream_gives_the_same_messages() -> None:
    text = (
        'retry: 5\r\nid: a\r\n\r\n: note\ndata: {"s": "\u2028\u0085"}\nevent: x\nid: evt_1\n\ndata:1\ndata: 2\n\nid: b'
    )
    raw = text.encode()
    whole = Parser().feed(raw)
    assert [(one.id, one.event, one.data, one.retry) for one in whole] == [
        ("a", "message", None, 5),
        ("evt_1", "x", '{"s": "\u2028\u0085"}'.encode(), None),
        (None, "message", b"1\n2", None),
    ]
    for cut in range(len(raw)):
        parser = Parser()
        assert parser.feed(raw[:cut]) + parser.feed(raw[cut:]) == whole
