"""`tolem trigger` and `tolem events` where no engine is needed: what they refuse, read and tell."""

import json
from collections.abc import AsyncIterator

import pytest

from dev.ports import free_port
from dev.postgres import Database
from domain.event import EventType
from domain.merchant import Mode
from operations import triggering
from operations.keys import add_key
from tests.api.serving import RunningApi, running_api
from tests.db.books import Books, Shop
from tests.support.cli import ended, tolem

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


async def key_of(shop: Shop, mode: Mode) -> str:
    return await add_key(shop.books.registry, shop.id, mode, "laptop")


def test_every_event_is_triggered_or_has_a_reason_why_not() -> None:
    assert set(triggering.TRIGGERED) | set(triggering.NOT_TRIGGERED) == set(EventType)
    assert not set(triggering.TRIGGERED) & set(triggering.NOT_TRIGGERED)
    assert {*triggering._ACTS, EventType.WEBHOOK_TEST} == set(triggering.TRIGGERED)


async def test_the_list_needs_neither_key_nor_api() -> None:
    code, out, _ = await ended(await tolem("trigger", "--list"))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == [event.value for event in EventType]


async def test_a_live_key_is_refused_before_anything_is_done(api: RunningApi, books: Books, shop: Shop) -> None:
    key = await key_of(shop, Mode.LIVE)
    code, _, err = await ended(await tolem("trigger", "invoice.status_changed", "--key", key, "--api", api.url))
    assert (code, "This is a live key" in err) == (2, True)
    assert await books.fetch("select id from invoices") == []


async def test_what_the_api_refuses_is_told_with_its_code(api: RunningApi, shop: Shop) -> None:
    key = await key_of(shop, Mode.TEST)
    # There is no Temporal here.
    code, _, err = await ended(await tolem("trigger", "invoice.status_changed", "--key", key, "--api", api.url))
    assert (code, "engine_unavailable: The engine or its worker is unavailable" in err) == (1, True), err
    words = ("trigger", "webhook.test", "--key", key, "--api", api.url)
    code, _, err = await ended(await tolem(*words, "--endpoint", "whe_../nothing"))
    assert (code, "not_found: There is no such object." in err) == (1, True), err
    code, _, err = await ended(await tolem(*words))
    assert (code, "There is no enabled sandbox endpoint to test" in err) == (1, True), err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("invoice.payed",), 2, "'invoice.payed' is not one of"),
        (("kaspi.session_changed",), 1, "kaspi.session_changed cannot be triggered. It tells of the link"),
        (("invoice.status_changed", "--endpoint", "whe_1"), 2, "--endpoint goes with webhook.test only"),
    ],
)
async def test_what_cannot_be_triggered_is_said(shop: Shop, words: tuple[str, ...], code: int, told: str) -> None:
    key = await key_of(shop, Mode.TEST)
    got, _, err = await ended(await tolem("trigger", *words, "--key", key))
    assert (got, told in err) == (code, True), err


async def test_an_api_that_is_away_is_told_in_a_sentence(shop: Shop) -> None:
    key, url = await key_of(shop, Mode.TEST), f"http://127.0.0.1:{free_port()}"
    code, _, err = await ended(await tolem("events", "list", "--key", key, "--api", url))
    assert (code, f"The API at {url} cannot be reached" in err) == (1, True), err


async def test_events_are_listed_over_pages_and_shown_whole(api: RunningApi, shop: Shop) -> None:
    key = await key_of(shop, Mode.LIVE)
    invoices = [await shop.paid() for _ in range(104)]
    await shop.refund(invoices[0])
    words = ("--key", key, "--api", api.url)
    code, out, _ = await ended(await tolem("events", "list", *words, "--limit", "103", "--type", "invoice.*"))
    assert code == 1  # the feed filters by types, not by patterns, and says so
    code, out, _ = await ended(
        await tolem("events", "list", *words, "--limit", "103", "--type", "invoice.status_changed")
    )
    rows = [line.split() for line in out.splitlines()[1:]]
    assert code == 0
    assert [row[3] for row in rows] == [one.id for one in reversed(invoices[1:])]
    assert rows[0][2:] == ["invoice.status_changed", invoices[-1].id, "live", "paid", "pending"]
    code, out, _ = await ended(await tolem("events", "list", *words, "--object", invoices[0].id))
    assert [line.split()[2] for line in out.splitlines()[1:]] == ["invoice.refunded", "invoice.status_changed"]
    code, out, _ = await ended(await tolem("events", "list", *words, "--since", "2099-01-01"))
    assert (code, len(out.splitlines())) == (0, 1)

    code, out, _ = await ended(await tolem("events", "show", rows[0][0], *words))
    shown = json.loads(out)
    assert (code, shown["id"], shown["data"]["object"]["id"]) == (0, rows[0][0], invoices[-1].id)
    for verb in ("show", "resend"):
        code, _, err = await ended(await tolem("events", verb, "evt_nothing", *words))
        assert (code, "not_found: There is no such object." in err) == (1, True), err
