"""An answer that goes on until somebody ends it, and that ends although nobody reads it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any

import structlog
from litestar import Request
from litestar.datastructures import Cookie
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.types import Message, Receive, Scope, Send

from api.serving import connection_of
from api.streams import OpenStream, Streams
from domain.merchant import Principal

log = structlog.get_logger(__name__)

# Who has taken in nothing for so long is gone or asleep; a client that comes back misses nothing.
SEND_SECONDS = 30.0
# For the last message and what is still on its way, once the stream has been told to end.
END_SECONDS = 2.0

Messages = Callable[[OpenStream], AsyncGenerator[bytes, None]]


class EventAnswer(Stream):
    """Server-Sent Events. Its place in `streams` is taken when the answer begins, and given back when nothing is left
    of the connection.
    """

    def __init__(self, messages: Messages, streams: Streams, principal: Principal) -> None:
        # Proxies must pass on each message as it comes (X-Accel-Buffering is nginx's word for it). The connection ends
        # with the stream, so that one whose last words nobody reads does not stay as an idle one.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "close"}
        super().__init__((), media_type="text/event-stream; charset=utf-8", headers=headers)
        self._messages = messages
        self._streams = streams
        self._principal = principal

    def to_asgi_response(
        self,
        app: object,
        request: Request[Any, Any, Any],
        *,
        cookies: Iterable[Cookie] | None = None,
        headers: dict[str, str] | None = None,
        **_: Any,
    ) -> ASGIResponse:
        """Called by the framework."""
        answer = _Answer(headers=(headers or {}) | self.headers, media_type=self.media_type, cookies=cookies)
        answer.source = self
        return answer

    def opened(self, scope: Scope) -> OpenStream:
        """The place of this answer's stream."""
        return self._streams.open(self._principal.merchant.id, self._principal.key_id, connection_of(scope))

    def messages(self, place: OpenStream) -> AsyncGenerator[bytes, None]:
        """What is sent, to the end."""
        return self._messages(place)


class _NotRead(Exception):
    """The client takes in nothing."""


class _Answer(ASGIResponse):
    _should_set_content_length = False
    source: EventAnswer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place = self.source.opened(scope)
        answering = asyncio.create_task(self._answer(place, send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await place.wait(answering, leaving)
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                    await _flushed(answering, scope)
        finally:
            place.cut()
            await _flushed(None, scope)
            for task in (answering, leaving):
                task.cancel()
            problems = await asyncio.gather(answering, leaving, return_exceptions=True)
            place.close()
        for problem in problems:
            if isinstance(problem, _NotRead):
                log.info("event_stream_not_read", seconds=SEND_SECONDS)
            elif isinstance(problem, Exception):
                raise problem

    async def _answer(self, place: OpenStream, send: Send) -> None:
        async def in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(message)
            except TimeoutError:
                raise _NotRead from None

        await self.start_response(in_time)
        async with aclosing(self.source.messages(place)) as messages:
            async for message in messages:
                await in_time({"type": "http.response.body", "body": message, "more_body": True})
        await in_time({"type": "http.response.body", "body": b"", "more_body": False})


async def _flushed(answering: asyncio.Task[None] | None, scope: Scope) -> None:
    """Until the connection is gone, unless the answer has failed: there is then nothing to wait for."""
    connection = connection_of(scope)
    failed = answering is not None and answering.done() and answering.exception() is not None
    if connection is not None and not failed:
        await connection.gone.wait()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
