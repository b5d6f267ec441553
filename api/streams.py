"""The event streams that are open in this process: how many there may be, and how they end."""

import asyncio
import contextlib
from collections import Counter

# A developer's few terminals and one service; a sixth is a laptop whose old connections have died unnoticed.
STREAMS_PER_KEY = 5
STREAMS_PER_PROCESS = 100
# Streams look at Postgres through the pool that answers requests: together they never hold more of it than this.
LOOKS_AT_ONCE = 3


class OpenStream:
    """One stream's place. `close` may be called more than once."""

    def __init__(self, streams: "Streams", key_id: str) -> None:
        self.key_id = key_id
        self._streams = streams
        self._replaced = asyncio.Event()

    @property
    def replaced(self) -> bool:
        """A newer stream has taken this place."""
        return self._replaced.is_set()

    def replace(self) -> None:
        """Ask the stream to end."""
        self._replaced.set()

    async def pause(self, seconds: float) -> None:
        """Waits, but not for longer than the stream has its place."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._replaced.wait()

    def close(self) -> None:
        """Gives the place back."""
        self._streams.forget(self)


class Streams:
    """A stream too many ends the oldest one instead of being refused.

    A connection that died half-way is noticed only after minutes, and must not lock its owner out meanwhile. Where the
    whole process is full, the key with the most streams gives one: nobody can push others out by opening many.
    """

    def __init__(self, per_key: int = STREAMS_PER_KEY, per_process: int = STREAMS_PER_PROCESS) -> None:
        self.looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._per_key = per_key
        self._per_process = per_process
        self._open: list[OpenStream] = []  # the oldest first

    def __len__(self) -> int:
        return len(self._open)

    def open(self, key_id: str) -> OpenStream:
        """A place for a stream of this key."""
        mine = [one for one in self._open if one.key_id == key_id]
        if len(mine) >= self._per_key:
            self._end(mine[0])
        elif len(self._open) >= self._per_process:
            (crowded, _), *_ = Counter(one.key_id for one in self._open).most_common(1)
            self._end(next(one for one in self._open if one.key_id == crowded))
        made = OpenStream(self, key_id)
        self._open.append(made)
        return made

    def forget(self, stream: OpenStream) -> None:
        """Nothing happens for a stream that has lost its place before."""
        if stream in self._open:
            self._open.remove(stream)

    def _end(self, stream: OpenStream) -> None:
        stream.replace()
        self.forget(stream)
