"""The events of a merchant as they are committed, as Server-Sent Events."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, Parameter, QueryParameter
from litestar.response import Stream

from api.auth import sees_sandbox_only
from api.event_answer import EventAnswer
from api.request_ids import request_id_of
from api.services import Services
from api.streams import STREAMS_PER_KEY, OpenStream, Reason
from api.v1 import fields, paging
from api.v1.choices import chosen
from api.v1.events import readable_since, visible_event
from api.v1.responses import errors
from db.event_reads import EventFilter, EventPage
from domain.errors import Code, TolemError
from domain.event import EventType
from domain.ids import EVENT
from domain.merchant import Principal
from domain.rendering import Event
from runtime.secrets import hash_api_key

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
CHECK_KEY_SECONDS = 60.0
# While Postgres is away the stream stays open this long; then it says so and ends.
AWAY_SECONDS = 30.0
RECONNECT_MILLISECONDS = 2000
PAGE_SIZE = 100
CLOSED = {
    Reason.SHUTDOWN: "The server stops; connect again with Last-Event-ID.",
    Reason.REPLACED: f"A newer stream of this key took this place; a key has at most {STREAMS_PER_KEY}.",
    Reason.CROWDED: "The server has all the streams it can hold; connect again with Last-Event-ID.",
}

Place = tuple[datetime, str]

_STREAM = ResponseSpec(
    str, description="Messages until one side ends it.", media_type="text/event-stream", generate_examples=False
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a stream shows. They are chosen here and not in SQL, so that each look begins where the last one
    ended: a stream of rare events would otherwise read all the others again, twice a second.
    """

    types: list[EventType] | None
    is_sandbox: bool | None

    def fits(self, event: Event) -> bool:
        """Does the stream show it?"""
        right_mode = self.is_sandbox is None or event.is_sandbox is self.is_sandbox
        return right_mode and (self.types is None or event.type in self.types)


@get(
    "/events/stream",
    media_type="text/event-stream",
    tags=["Events"],
    summary="Stream events",
    description="Server-Sent Events: each event once it is committed, in the order of `GET /v1/events?order=asc`, none"
    " skipped. A message has the event's `id`, its type as `event`, and the event as one line of JSON. It begins now,"
    " behind the event in `after`, or where `Last-Event-ID` says; keep the last `id` you got (the first comes at once,"
    " before any event) and nothing is lost by reconnecting. A comment comes every 15 s without events. Before it ends"
    " by itself it tells why: `event: error` with the usual error, or `event: closed` with a `reason`: `shutdown`;"
    f" `replaced` (a key has at most {STREAMS_PER_KEY} streams; a newer one ends the oldest); or `crowded` (the server"
    " is full and your streams were the most; connect again). Who takes in nothing for 30 s is cut off.",
    operation_id="streamEvents",
    responses={200: _STREAM, **errors(400, 401, 503)},
)
async def stream_events(
    request: Request[Any, Any, State],
    services: Services,
    principal: Principal,
    types: Annotated[
        list[str] | None, QueryParameter(name="type", description="Event types, repeated or separated by commas.")
    ] = None,
    is_sandbox: bool | None = None,
    after: Annotated[str | None, Parameter(max_length=100, description="An event's id: begin behind it.")] = None,
    last_event_id: Annotated[
        str | None,
        HeaderParameter(
            name="Last-Event-ID",
            required=False,
            description="The last `id` of the stream before; goes before `after`, as browsers repeat the URL.",
        ),
    ] = None,
) -> Stream:
    """GET /v1/events/stream."""
    wanted = Wanted(
        types=chosen(types, EventType, "type"), is_sandbox=True if sees_sandbox_only(principal) else is_sandbox
    )
    place = await _beginning(services, principal, after, last_event_id)
    follower = _Follower(request, services, principal, wanted, place)
    return EventAnswer(follower.messages, services.streams, principal)


async def _beginning(services: Services, principal: Principal, after: str | None, last_event_id: str | None) -> Place:
    if last_event_id:
        return await _named_place(services, principal, last_event_id, "Last-Event-ID")
    if after:
        return await _named_place(services, principal, after, "after", events_only=True)
    return principal.database_now, ""


async def _named_place(
    services: Services, principal: Principal, name: str, field: str, *, events_only: bool = False
) -> Place:
    """Behind the event of this id, or the place that an earlier stream named before it had shown an event."""
    if events_only or name.startswith(f"{EVENT}_"):
        event = await visible_event(services, principal, name)
        place = None if event is None else (event.created_at, event.id)
    else:
        place = _place_of(name)
        if place is not None and place[0] < readable_since(services, principal):
            place = None  # what came since may be unreadable by now, and a gap must not pass in silence
    if place is None:
        raise fields.wrong(field, "There is no such event, or it can no longer be read.")
    return place


def _place_of(name: str) -> Place | None:
    try:
        return paging.start(name, 1, 1)[0]
    except TolemError:
        return None


class _Follower:
    """One stream: where it is, and what ends it."""

    def __init__(
        self,
        request: Request[Any, Any, State],
        services: Services,
        principal: Principal,
        wanted: Wanted,
        place: Place,
    ) -> None:
        self._services = services
        self._looks = services.streams.looks
        self._merchant_id = principal.merchant.id
        self._key_hash = hash_api_key(request.headers["x-api-key"])
        self._request_id = request_id_of(request.scope)
        self._since = readable_since(services, principal)
        self._wanted = wanted
        self._place = place
        self._began = self._key_checked = self._last_sent = time.monotonic()
        self._next_look = 0.0

    async def messages(self, stream: OpenStream) -> AsyncGenerator[bytes, None]:
        """What is sent, message by message, until the stream ends by itself or is cut off."""
        try:
            yield _message(retry=str(RECONNECT_MILLISECONDS), id=paging.cursor(*self._place))
            async with aclosing(self._news(stream)) as news:
                async for message in news:
                    yield message
            if stream.reason is not None:
                yield _message(event="closed", data=_json({"reason": stream.reason, "message": CLOSED[stream.reason]}))
        except TolemError as error:
            yield self._error(error)
        except Exception as error:
            log.error("event_stream_failed", exc_info=error)
            yield self._error(TolemError(Code.INTERNAL))

    async def _news(self, stream: OpenStream) -> AsyncGenerator[bytes, None]:
        """Events and heartbeats until the stream must end. A look is a task beside it: however long the database or
        the other streams make it wait, the heart goes on beating and the end is seen.
        """
        look: asyncio.Task[None] | None = None
        found = deque[Event]()
        try:
            while stream.reason is None:
                if look is None and time.monotonic() >= self._next_look:
                    look = asyncio.create_task(self._look(found))
                await stream.wait(*([look] if look else []), seconds=self._turn(look))
                if look is not None and look.done():
                    done, look = look, None
                    done.result()
                    while found and stream.reason is None:
                        event = found.popleft()
                        self._place = (event.created_at, event.id)
                        if self._wanted.fits(event):
                            yield self._told(event)
                self._give_up_in_the_end()
                if time.monotonic() - self._last_sent >= HEARTBEAT_SECONDS:
                    yield self._heartbeat()
        finally:
            if look is not None:
                _abandon(look)

    def _turn(self, look: asyncio.Task[None] | None) -> float:
        return LOOK_SECONDS if look is not None else max(0.0, min(LOOK_SECONDS, self._next_look - time.monotonic()))

    async def _look(self, found: deque[Event]) -> None:
        """Adds what is new; nothing while the database is away."""
        page = await self._looks.take(self._read)
        if page is not None:
            found.extend(page.items)
        self._next_look = time.monotonic() + (0.0 if page is not None and page.has_more else LOOK_SECONDS)

    async def _read(self) -> EventPage:
        await self._check_key()
        return await self._services.events.page(
            self._merchant_id,
            EventFilter(since=self._since, after=self._place, ascending=True, limit=PAGE_SIZE),
        )

    async def _check_key(self) -> None:
        if time.monotonic() - self._key_checked < CHECK_KEY_SECONDS:
            return
        if await self._services.reads.authenticate(self._key_hash) is None:
            raise TolemError(Code.UNAUTHORIZED)
        self._key_checked = time.monotonic()

    def _give_up_in_the_end(self) -> None:
        # What the others knew before this stream began may be long over: nobody has looked since.
        away = self._looks.away_since
        if away is not None and time.monotonic() - max(away, self._began) >= AWAY_SECONDS:
            raise TolemError(Code.DATABASE_UNAVAILABLE)

    def _told(self, event: Event) -> bytes:
        self._last_sent = time.monotonic()
        return _message(id=event.id, event=event.type, data=_json(self._services.v1.event(event)))

    def _heartbeat(self) -> bytes:
        """A comment, and the place: an id without data is no message, but what a reconnecting client will name."""
        self._last_sent = time.monotonic()
        word = "heartbeat" if self._looks.away_since is None else "the database is away; nothing will be skipped"
        return f": {word}\n".encode() + _message(id=paging.cursor(*self._place))

    def _error(self, error: TolemError) -> bytes:
        return _message(event="error", data=_json(self._services.v1.error(error, self._request_id, datetime.now(UTC))))


def _abandon(look: asyncio.Task[None]) -> None:
    """A stream that ends does not wait for its look, and nobody asks any more how that went."""
    look.add_done_callback(lambda done: done.cancelled() or done.exception())
    look.cancel()


def _json(value: object) -> str:
    """One line: JSON escapes line breaks in its strings."""
    return msgspec.json.encode(value).decode()


def _message(**lines: str) -> bytes:
    return "".join(f"{name}: {value}\n" for name, value in lines.items()).encode() + b"\n"
