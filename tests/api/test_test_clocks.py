"""Test clocks through the real API on a real socket, as far as no engine is needed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from db.test_clocks import CLOCKS_PER_MERCHANT, TestClocks
from dev.postgres import Database
from domain.errors import Code
from domain.merchant import Mode
from operations.keys import add_key
from tests.api.serving import running_api
from tests.db.books import Books
from tests.support.api_errors import assert_error

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

PATH = "/api/v1/sandbox/test-clocks"
NOW = "2026-01-31T05:00:00.000Z"


@pytest.fixture(scope="module")
async def books(postgres: Database) -> AsyncIterator[Books]:
    made = Books(postgres)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def url(books: Books) -> AsyncIterator[str]:
    async with running_api(books.database) as running:
        yield running.url


async def client_of(books: Books, url: str, mode: Mode = Mode.TEST) -> httpx.AsyncClient:
    shop = await books.merchant()
    key = await add_key(books.registry, shop.id, mode, "k")
    return httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=60)


@pytest.fixture
async def client(books: Books, url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with await client_of(books, url) as client:
        yield client


async def made(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json={"now": NOW, **fields})
    assert answer.status_code == 201, answer.text
    clock: dict[str, Any] = answer.json()
    return clock


def fields_of(answer: httpx.Response) -> list[str]:
    return [error["field"] for error in assert_error(answer, Code.INVALID_REQUEST)["errors"]]


async def test_a_clock_stands_where_it_was_set_and_is_listed(client: httpx.AsyncClient) -> None:
    clock = await made(client, name=" a year ")
    assert (clock["name"], clock["now"], clock["state"], clock["target"]) == ("a year", NOW, "ready", None)
    assert (await client.get(f"{PATH}/{clock['id']}")).json() == clock
    present = await client.post(PATH)
    assert (present.status_code, present.headers["location"]) == (201, f"{PATH}/{present.json()['id']}")
    assert [one["id"] for one in (await client.get(PATH)).json()["items"]] == [present.json()["id"], clock["id"]]


async def test_a_live_key_has_no_clocks(books: Books, url: str) -> None:
    async with await client_of(books, url, Mode.LIVE) as live:
        for method, path in (("GET", ""), ("POST", ""), ("GET", "/clk_1"), ("DELETE", "/clk_1")):
            assert_error(await live.request(method, PATH + path), Code.TEST_KEY_REQUIRED)
        assert_error(await live.post(f"{PATH}/clk_1/advance", json={"by": "P1D"}), Code.TEST_KEY_REQUIRED)


async def test_a_strangers_clock_and_what_is_none_are_not_found(
    client: httpx.AsyncClient, books: Books, url: str
) -> None:
    clock = await made(client)
    async with await client_of(books, url) as other:
        for id_ in (clock["id"], "clk_none", "x%00y"):
            assert_error(await other.get(f"{PATH}/{id_}"), Code.NOT_FOUND)
            assert_error(await other.delete(f"{PATH}/{id_}"), Code.NOT_FOUND)
            assert_error(await other.post(f"{PATH}/{id_}/advance", json={"by": "P1D"}), Code.NOT_FOUND)
        assert (await other.get(PATH)).json() == {"items": []}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"now": "2026-01-31"}, ["now"]),
        ({"now": "2019-12-31T00:00:00Z"}, ["now"]),
        ({"now": "2100-01-01T00:00:00Z"}, ["now"]),
        ({"name": "x" * 101, "now": 1}, ["name", "now"]),
        ({"time": NOW}, ["time"]),
    ],
    ids=str,
)
async def test_what_is_wrong_with_a_clock_is_named(
    client: httpx.AsyncClient, body: dict[str, Any], named: list[str]
) -> None:
    assert fields_of(await client.post(PATH, json=body)) == named


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, ["by", "to"]),
        ({"by": "P1D", "to": NOW}, ["by", "to"]),
        ({"by": "1 day"}, ["by"]),
        ({"by": "P3Y"}, ["by"]),
        ({"by": "P9999Y"}, ["by"]),
        ({"by": "PT0S"}, ["by"]),
        ({"by": 0}, ["by"]),
        ({"by": -60}, ["by"]),
        ({"by": 10**12}, ["by"]),
        ({"by": 1.5}, ["by"]),
        ({"by": True}, ["by"]),
        ({"to": NOW}, ["to"]),
        ({"to": "2026-01-30T00:00:00Z"}, ["to"]),
        ({"to": "2029-01-31T00:00:00Z"}, ["to"]),
        ({"to": "tomorrow", "step": 1}, ["to", "step"]),
    ],
    ids=str,
)
async def test_what_is_wrong_with_an_advance_is_named(
    client: httpx.AsyncClient, body: dict[str, Any], named: list[str]
) -> None:
    clock = await made(client)
    assert fields_of(await client.post(f"{PATH}/{clock['id']}/advance", json=body)) == named
    assert (await client.get(f"{PATH}/{clock['id']}")).json() == clock


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ({"by": "P1M"}, "2026-02-28T05:00:00.000Z"),
        ({"by": "P1Y"}, "2027-01-31T05:00:00.000Z"),
        ({"by": 90}, "2026-01-31T05:01:30.000Z"),
        ({"to": "2026-03-01T00:00:00+05:00"}, "2026-02-28T19:00:00.000Z"),
    ],
    ids=str,
)
async def test_an_advance_is_written_down_though_the_engine_is_away_and_only_one_runs(
    client: httpx.AsyncClient, body: dict[str, Any], target: str
) -> None:
    clock = await made(client)
    path = f"{PATH}/{clock['id']}"
    assert_error(await client.post(f"{path}/advance", json=body), Code.ENGINE_SLOW)
    stands = (await client.get(path)).json()
    assert (stands["state"], stands["now"], stands["target"]) == ("advancing", NOW, target)
    assert_error(await client.post(f"{path}/advance", json=body), Code.TEST_CLOCK_ADVANCING)
    assert_error(await client.delete(path), Code.TEST_CLOCK_ADVANCING)


async def test_a_repeated_advance_goes_no_further(client: httpx.AsyncClient, books: Books) -> None:
    clock = await made(client)
    path = f"{PATH}/{clock['id']}"
    headers = {"Idempotency-Key": "advance-1"}
    for _ in range(2):
        assert_error(await client.post(f"{path}/advance", json={"by": "P1M"}, headers=headers), Code.ENGINE_SLOW)
    (row,) = await books.fetch("select merchant_id, target_at from test_clocks where id = :id", id=clock["id"])
    clocks = TestClocks(books.app)
    # A run that lost its way to an earlier target does not call it ready.
    lost = await clocks.reached(row["merchant_id"], clock["id"], row["target_at"] - timedelta(days=1))
    assert lost is not None
    assert lost.state == "advancing"
    assert await clocks.reached(row["merchant_id"], clock["id"], row["target_at"]) is not None
    assert_error(await client.post(f"{path}/advance", json={"by": "P1M"}, headers=headers), Code.ENGINE_SLOW)
    stands = (await client.get(path)).json()
    assert (stands["state"], stands["now"]) == ("ready", "2026-02-28T05:00:00.000Z")
    other = await client.post(f"{path}/advance", json={"by": "P2M"}, headers=headers)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)


async def test_a_repeated_creation_makes_one_clock(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "clock-1"}
    answers = await asyncio.gather(*(client.post(PATH, json={"name": "a"}, headers=headers) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.content for answer in answers}) == 1
    assert len((await client.get(PATH)).json()["items"]) == 1
    assert_error(await client.post(PATH, json={"name": "b"}, headers=headers), Code.IDEMPOTENCY_KEY_REUSED)


async def test_a_deleted_clock_is_gone_and_makes_room(client: httpx.AsyncClient) -> None:
    clocks = [await made(client) for _ in range(CLOCKS_PER_MERCHANT)]
    full = assert_error(await client.post(PATH), Code.LIMIT_REACHED)
    assert full["details"] == {"limit": str(CLOCKS_PER_MERCHANT)}
    assert (await client.delete(f"{PATH}/{clocks[0]['id']}")).status_code == 204
    assert_error(await client.get(f"{PATH}/{clocks[0]['id']}"), Code.NOT_FOUND)
    assert_error(await client.delete(f"{PATH}/{clocks[0]['id']}"), Code.NOT_FOUND)
    assert (await client.post(PATH)).status_code == 201
