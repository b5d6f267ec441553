"""Fifty merchants' servers, some of them ill, in one process: what came, when, and what was answered."""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from enum import StrEnum
from types import TracebackType
from typing import Self


class Illness(StrEnum):
    """How a receiver behaves."""

    WELL = "well"
    HANGS = "hangs"
    FAILS = "answers 500"
    THROTTLES = "answers 429 two times of three"
    GONE = "answers 410"
    RESETS = "resets"
    DRIPS = "drips its body"


# Of fifty: a fifth hang, a fifth answer 5xx, and some of each other kind.
ILL: dict[Illness, int] = {
    Illness.HANGS: 10,
    Illness.FAILS: 10,
    Illness.THROTTLES: 2,
    Illness.GONE: 2,
    Illness.RESETS: 2,
    Illness.DRIPS: 2,
}


def illnesses(receivers: int, *, ill: bool) -> list[Illness]:
    """What each of them has; the same places for the same number."""
    if not ill:
        return [Illness.WELL] * receivers
    kinds = [kind for kind, number in ILL.items() for _ in range(max(1, number * receivers // 50))]
    kinds += [Illness.WELL] * (receivers - len(kinds))
    # Spread: neighbours in the list are made one after another, and get their events one after another.
    spread = 7 if receivers % 7 else 1
    return [kinds[place * spread % receivers] for place in range(receivers)]


class Receiver:
    """One merchant's server."""

    def __init__(self, illness: Illness) -> None:
        self.illness = illness
        self.requests = 0
        self.accepted: Counter[str] = Counter()
        self.first: dict[str, float] = {}
        self._seen: defaultdict[str, int] = defaultdict(int)
        self._server: asyncio.Server | None = None
        self._talking: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        if self._server is None:
            raise RuntimeError("the receiver is not open")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._talking:
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 — start_server runs us in one
        self._talking.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                await reader.readexactly(int(headers["content-length"]))
                await self._answer(headers["webhook-id"], writer)
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the sender went away, which is its right, or the run is over
        finally:
            self._talking.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, event_id: str, writer: asyncio.StreamWriter) -> None:
        now = time.time()
        self.first.setdefault(event_id, now)
        self._seen[event_id] += 1
        status, extra = self._says(event_id)
        self.requests += 1
        if status == 200:
            self.accepted[event_id] += 1
        if self.illness is Illness.HANGS:
            await asyncio.sleep(3600)
        if self.illness is Illness.RESETS:
            writer.transport.abort()
            return
        if self.illness is Illness.DRIPS:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.5)
        writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: 2\r\n{extra}\r\nok".encode())
        await writer.drain()

    def _says(self, event_id: str) -> tuple[int | None, str]:
        match self.illness:
            case Illness.WELL:
                return 200, ""
            case Illness.FAILS:
                return 500, ""
            case Illness.GONE:
                return 410, ""
            case Illness.THROTTLES:
                return (200, "") if self._seen[event_id] >= 3 else (429, "retry-after: 2\r\n")
            case _:
                return None, ""
