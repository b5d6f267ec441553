"""A client of the event stream, as a merchant's program would be one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import msgspec

from dev.postgres import Database
from operations.event_source import Message, Parser
from tests.support.waiting import PATIENCE

STREAM = "/api/v1/events/stream"


class Following:
    """A client of the stream: every message it has got."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._parser = Parser()
        self._chunks = answer.aiter_bytes()
        self._waiting: list[Message] = []
        self.comments = b""

    async def next(self) -> Message | None:
        """The next message; None at the end."""
        async with asyncio.timeout(PATIENCE):
            while not self._waiting:
                try:
                    chunk = await anext(self._chunks)
                except StopAsyncIteration:
                    return None
                self.comments += b"\n".join(line for line in chunk.split(b"\n") if line.startswith(b":"))
                self._waiting += self._parser.feed(chunk)
            return self._waiting.pop(0)

    async def event(self) -> dict[str, Any]:
        """The next message, which must be an event; ids without data are passed over."""
        while (message := await self.next()) is not None:
            if message.data is not None:
                body: dict[str, Any] = msgspec.json.decode(message.data)
                assert (message.id, message.event) == (body["id"], body["type"])
                return body
        raise AssertionError("the stream has ended")

    async def to_end(self) -> list[Message]:
        """Everything until the server ends the stream, ids without data left out."""
        found = []
        while (message := await self.next()) is not None:
            found += [message] if message.data is not None else []
        return found


class StreamClient:
    """A merchant's program; close `http` in the end."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.AsyncClient(
            base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=httpx.Timeout(60)
        )

    @asynccontextmanager
    async def follow(self, place: str | None = None, **params: Any) -> AsyncIterator[Following]:
        headers = {} if place is None else {"Last-Event-ID": place}
        async with self.http.stream("GET", STREAM, params=params, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            yield Following(answer)


@asynccontextmanager
async def database_away(database: Database) -> AsyncIterator[None]:
    """No connection of the application lives, and no new one is let in."""
    admin = await asyncpg.connect(database.dsn("postgres"), database="postgres")
    try:
        await admin.execute(f'alter database "{database.name}" allow_connections false')
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
            database.name,
        )
        # They have been told to end; who used one before it did, would not hear at once that the database is away.
        left = "select count(*) from pg_stat_activity where datname = $1"
        async with asyncio.timeout(30):
            while await admin.fetchval(left, database.name):  # noqa: ASYNC110 -- Postgres tells nobody
                await asyncio.sleep(0.02)
        yield
    finally:
        await admin.execute(f'alter database "{database.name}" allow_connections true')
        await admin.close()
