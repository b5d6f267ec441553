"""The merchant's event stream, followed for as long as somebody wants: through restarts, without a gap or a repeat."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import httpx
import msgspec

from operations.api_client import ApiClient, ApiRefused, away, refused
from operations.event_source import Message, Parser

STREAM = "/api/v1/events/stream"
# Three heartbeats of the API: longer silence means a connection that has died without a word.
SILENCE_SECONDS = 45.0
WAITS = (1.0, 2.0, 4.0, 8.0, 15.0)
# 429 is what proxies in between say.
_AWAY = {429, 500, 502, 503, 504}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event; `data` is its JSON as the feed shows it."""

    id: str
    type: str
    data: bytes


class Connected(msgspec.Struct, frozen=True):
    """The stream has said where it begins; `again` after an outage, and then it goes on from `place`."""

    again: bool


class Lost(msgspec.Struct, frozen=True):
    """The stream has ended or can't be opened; the next try is in `wait` seconds."""

    why: str
    wait: float


class StreamReplaced(Exception):
    """A newer stream of the same key has taken our place: coming back would only push that one out."""


class _Ended(Exception):
    """This connection is over, and another one is worth a try."""


class _Crowded(_Ended):
    """The server was full: who comes back at once pushes out the next one."""


class Following:
    """`place` is where to go on: the last event that was dealt with. None begins now."""

    def __init__(self, client: ApiClient, types: Sequence[str] | None = None, place: str | None = None) -> None:
        self._client = client
        self._types = types
        self.place = place
        self._failures = 0

    async def news(self) -> AsyncGenerator[Event | Connected | Lost, None]:
        """Events in order, and what becomes of the connection; ends only by an exception.

        An event counts as dealt with when the next item is asked for, so what was cut short comes again. Raises
        `ApiRefused` where a repeat is of no use (the key, a wrong parameter, a place that is too old) and
        `StreamReplaced`.
        """
        again = False
        while True:
            why = "the connection ended"
            try:
                async with aclosing(self._one_connection(again=again)) as items:
                    async for item in items:
                        yield item
                        again = True
            except (_Ended, httpx.TransportError) as error:
                why = str(error) if isinstance(error, _Ended) else away(self._client.url, error)
                if isinstance(error, _Crowded):
                    self._failures = len(WAITS)
            wait = WAITS[min(self._failures, len(WAITS) - 1)]
            self._failures += 1
            yield Lost(why, wait)
            await asyncio.sleep(wait)

    async def _one_connection(self, *, again: bool) -> AsyncGenerator[Event | Connected, None]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": self.place} if self.place else {})
        params = {"type": list(self._types)} if self._types else None
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=5.0)
        stream = self._client.http.stream("GET", STREAM, params=params, headers=headers, timeout=timeout)
        async with stream as answer:
            await _check(answer)
            parser = Parser()
            begun = False
            async for chunk in answer.aiter_bytes():
                for message in parser.feed(chunk):
                    # Before the first id nothing is known of where the stream begins: a connection that dies there was
                    # none, and the next one would begin later.
                    if not begun and message.id is not None:
                        self._failures, begun = 0, True
                        yield Connected(again)
                    if message.data is not None:
                        yield _event(message)
                    self.place = message.id or self.place


async def _check(answer: httpx.Response) -> None:
    if answer.status_code == httpx.codes.OK and answer.headers.get("content-type", "").startswith("text/event-stream"):
        return
    problem = refused(answer.status_code, await answer.aread())
    if answer.status_code in _AWAY:
        raise _Ended(str(problem))
    raise problem


def _event(message: Message) -> Event:
    data = message.data or b""
    if message.event == "closed":
        said = msgspec.json.decode(data, type=dict[str, str])
        if said.get("reason") == "replaced":
            raise StreamReplaced(said.get("message", ""))
        if said.get("reason") == "crowded":
            raise _Crowded(said.get("message", ""))
        raise _Ended(said.get("message", ""))
    if message.event == "error":
        # Whether a repeat is of use the next answer tells: a key that was revoked is refused there.
        raise _Ended(str(refused(0, data)))
    if message.id is None:
        raise ApiRefused(200, "no_event_stream", "A message without an id; is the address right?")
    return Event(id=message.id, type=message.event, data=data)
