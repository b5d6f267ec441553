"""The event streams that are open in this process: how many there may be, and how they end."""

import asyncio
from collections import Counter
from enum import StrEnum
from typing import Any

from api.looks import Looks
from api.serving import Connection

# A developer's few terminals and one service; a sixth is a laptop whose old connections have died unnoticed.
STREAMS_PER_KEY = 5
STREAMS_PER_PROCESS = 100
# How many of the process may be on their way out: each has a moment to say why it ends, and is not gone before.
LEAVING_PER_PROCESS = 20


class Reason(StrEnum):
    """Why the server ends a stream."""

    SHUTDOWN = "shutdown"
    REPLACED = "replaced"  # its own key opened one too many
    CROWDED = "crowded"  # the process is full, and this stream's merchant has most


class OpenStream:
    """One stream's place. It is taken until `close`, however long the stream has been told to end."""

    def __init__(self, streams: "Streams", merchant_id: str, key_id: str, connection: Connection | None) -> None:
        self.merchant_id = merchant_id
        self.key_id = key_id
        self.was_cut = False
        self._streams = streams
        self._connection = connection
        self._ended: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()

    @property
    def reason(self) -> Reason | None:
        """Why it must end; None while it may go on."""
        return self._ended.result() if self._ended.done() else None

    def end(self, reason: Reason) -> None:
        """Asks the stream to end; the first reason counts."""
        if not self._ended.done():
            self._ended.set_result(reason)

    def cut(self) -> None:
        """Ends its connection without a word."""
        self.was_cut = True
        if self._connection is not None:
            self._connection.cut()

    async def wait(self, *things: asyncio.Future[Any], seconds: float | None = None) -> None:
        """Until one of the things is done, the time is over, or the stream must end."""
        waited: set[asyncio.Future[Any]] = {self._ended, *things}
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    def close(self) -> None:
        """Gives the place back, once nothing is left of the stream; harmless to repeat."""
        self._streams.forget(self)


class Streams:
    """A stream too many ends the oldest one instead of being refused.

    A connection that died half-way is noticed only after minutes, and must not lock its owner out meanwhile. Where the
    whole process is full, the merchant with the most streams gives one: nobody can push others out by opening many,
    with however many keys. Streams on their way out are few as well: the oldest of those are cut.
    """

    def __init__(self, per_key: int = STREAMS_PER_KEY, per_process: int = STREAMS_PER_PROCESS) -> None:
        self.looks = Looks()
        self._per_key = per_key
        self._per_process = per_process
        self._stopped = False
        self._open: list[OpenStream] = []  # the oldest first

    def __len__(self) -> int:
        """Every stream whose connection is not gone."""
        return len(self._open)

    def open(self, merchant_id: str, key_id: str, connection: Connection | None) -> OpenStream:
        """A place for a stream of this key; in a server that stops it has ended from the first."""
        self._make_room(merchant_id, key_id)
        made = OpenStream(self, merchant_id, key_id, connection)
        self._open.append(made)
        if self._stopped:
            made.end(Reason.SHUTDOWN)
        return made

    def stop(self) -> None:
        """Ends all streams, and those that are still to be opened."""
        self._stopped = True
        for stream in self._open:
            stream.end(Reason.SHUTDOWN)

    def forget(self, stream: OpenStream) -> None:
        """Nothing happens for a stream that has given its place back before."""
        if stream in self._open:
            self._open.remove(stream)

    def _make_room(self, merchant_id: str, key_id: str) -> None:
        staying = [one for one in self._open if one.reason is None]
        of_key = [one for one in staying if one.key_id == key_id]
        if len(of_key) >= self._per_key:
            of_key[0].end(Reason.REPLACED)
        elif len(staying) >= self._per_process:
            _of_the_biggest(staying, merchant_id).end(Reason.CROWDED)
        leaving = [one for one in self._open if one.reason is not None and not one.was_cut]
        leaving_of_key = [one for one in leaving if one.key_id == key_id]
        if len(leaving_of_key) > self._per_key:
            leaving_of_key[0].cut()
        elif len(leaving) > LEAVING_PER_PROCESS:
            leaving[0].cut()


def _of_the_biggest(staying: list[OpenStream], newcomer: str) -> OpenStream:
    """The oldest stream of the merchant with most, the new one counted in; of equals the newcomer gives its own."""
    counts = Counter(one.merchant_id for one in staying)
    counts[newcomer] += 1
    # Streams and not merchants are compared, as a newcomer may have none yet; `max` takes the first, so the oldest.
    return max(staying, key=lambda one: (counts[one.merchant_id], one.merchant_id == newcomer))
