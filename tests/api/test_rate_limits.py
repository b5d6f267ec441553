"""Rate limits as a client meets them: headers on every answer, 429 in the contract's words, nothing done."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from dev.postgres import Database
from domain.errors import Code
from domain.merchant import Mode
from domain.rate_limit import RateLimit
from operations.keys import add_key
from tests.api.serving import running_api
from tests.db.books import Books
from tests.support.api_errors import assert_error

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")


@pytest.fixture
async def books(postgres: Database) -> AsyncIterator[Books]:
    made = Books(postgres)
    yield made
    await made.close()


@pytest.fixture
async def urls(postgres: Database) -> AsyncIterator[tuple[str, str]]:
    """Two processes' worth of API over one database."""
    async with running_api(postgres) as one, running_api(postgres) as two:
        yield one.url, two.url


async def limited_key(books: Books, limit: RateLimit | None) -> str:
    shop = await books.merchant()
    key = await add_key(books.registry, shop.id, Mode.TEST, "limited")
    (row,) = [one for one in await books.registry.keys(shop.id) if one.hint == key[-4:]]
    assert await books.registry.limit_key(row.id, limit)
    return key


async def test_every_answer_tells_what_is_left_and_the_last_one_when_to_come_back(
    books: Books, urls: tuple[str, str]
) -> None:
    key = await limited_key(books, RateLimit(6, 3))
    async with httpx.AsyncClient(headers={"X-API-Key": key}, trust_env=False, timeout=60) as client:
        first = await client.get(f"{urls[0]}/api/v1/me")
        assert first.status_code == 200
        assert first.headers["x-ratelimit-remaining"] == "2"
        assert first.headers["ratelimit-policy"] == '"key";q=3;w=30'
        assert first.headers["ratelimit"] == '"key";r=2;t=10'
        assert "retry-after" not in first.headers
        # The other process counts on, and an error is an answer too.
        missing = await client.get(f"{urls[1]}/api/v1/invoices/inv_nothing")
        assert (missing.status_code, missing.headers["x-ratelimit-remaining"]) == (404, "1")
        assert (await client.get(f"{urls[0]}/api/v1/me")).headers["x-ratelimit-remaining"] == "0"
        refused = await client.post(f"{urls[1]}/api/v1/webhooks", json={"url": "http://x.example", "events": ["*"]})
        body = assert_error(refused, Code.RATE_LIMITED)
        wait = int(refused.headers["retry-after"])
        assert 1 <= wait <= 10
        assert body["details"] == {"retry_after": str(wait), "per_minute": "6"}
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert refused.headers["ratelimit"] == f'"key";r=0;t={wait}'


async def test_after_the_wait_it_is_allowed_again(books: Books, urls: tuple[str, str]) -> None:
    key = await limited_key(books, RateLimit(600, 1))
    async with httpx.AsyncClient(headers={"X-API-Key": key}, trust_env=False, timeout=60) as client:
        statuses = [(await client.get(f"{urls[0]}/api/v1/me")).status_code for _ in range(2)]
        while statuses[-1] == 429:
            await asyncio.sleep(0.05)
            statuses.append((await client.get(f"{urls[1]}/api/v1/me")).status_code)
        assert statuses[0] == statuses[-1] == 200


async def test_what_needs_no_key_and_keys_without_a_limit_are_not_limited(books: Books, urls: tuple[str, str]) -> None:
    key = await limited_key(books, None)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for _ in range(3):
            health = await client.get(f"{urls[0]}/health/live", headers={"X-API-Key": key})
            docs = await client.get(f"{urls[0]}/api/docs/openapi.json")
            mine = await client.get(f"{urls[0]}/api/v1/me", headers={"X-API-Key": key})
            assert [one.status_code for one in (health, docs, mine)] == [200] * 3
            assert not any("ratelimit" in name for one in (health, docs, mine) for name in one.headers)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v1/invoices", b"{", 400),
        ("/api/v1/webhooks", b'{"url": 1}', 400),
        ("/api/invoices", b"{", 400),
        ("/api/invoices", b'{"amount": -1}', 422),
        ("/api/recurring-invoices", b"[]", 422),
        ("/api/organizations/verify", b"{}", 422),
    ],
)
async def test_a_body_is_read_only_for_a_key_that_may_ask(
    books: Books, urls: tuple[str, str], path: str, body: bytes, status: int
) -> None:
    """So that wrong bodies are counted like any request, and who has no key learns nothing of bodies."""
    key = await limited_key(books, RateLimit(1, 2))
    headers = {"Content-Type": "application/json", "X-API-Key": key}
    async with httpx.AsyncClient(base_url=urls[0], trust_env=False, timeout=60) as client:
        seen = [await client.post(path, content=body, headers=headers) for _ in range(3)]
        assert [one.status_code for one in seen] == [status, status, 429]
        assert [one.headers["x-ratelimit-remaining"] for one in seen] == ["1", "0", "0"]
        assert "retry-after" in seen[2].headers
        assert (await client.post(path, content=body, headers=headers | {"X-API-Key": "tk_test_x"})).status_code == 401
        assert (await client.post(path, content=body)).status_code == 401


async def test_wrong_parameters_are_counted_and_which_methods_there_are_needs_no_key(
    books: Books, urls: tuple[str, str]
) -> None:
    key = await limited_key(books, RateLimit(1, 9))
    async with httpx.AsyncClient(base_url=urls[0], headers={"X-API-Key": key}, trust_env=False, timeout=60) as client:
        asked = [await client.get(path) for path in ("/api/invoices?page=0", "/api/v1/invoices?page=0")]
        assert [one.status_code for one in asked] == [422, 400]
        assert [one.headers["x-ratelimit-remaining"] for one in asked] == ["8", "7"]
    async with httpx.AsyncClient(base_url=urls[0], trust_env=False, timeout=60) as nobody:
        options = await nobody.options("/api/invoices")
        assert (options.status_code, "POST" in options.headers["allow"]) == (204, True)
