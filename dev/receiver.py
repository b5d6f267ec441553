"""A merchant's webhook receiver on a real socket, for the demo and for tests."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """One request, byte for byte; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the receiver says: after `delay` seconds, or never (`drop`: the connection is reset)."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False


class WebhookReceiver:
    """Records every request and gives the answers of `answer_next` in turn, then `default`.

    `async with WebhookReceiver() as receiver`, or `start()` and `stop()`. Listens on 127.0.0.1.
    """

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.default = Answer()
        self._answers: deque[Answer] = deque()
        self._server: asyncio.Server | None = None
        self._talking: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()
        self._released = asyncio.Event()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", port)

    async def stop(self) -> None:
        """Closes the door and cuts off who is still being answered."""
        if self._server:
            self._server.close()
            for task in self._talking:
                task.cancel()
            await asyncio.gather(*self._talking, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> "WebhookReceiver":
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where merchants would say their webhooks go."""
        if self._server is None:
            raise RuntimeError("the receiver is not started")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/webhook"

    def answer_next(self, *answers: Answer) -> None:
        """The answers of the next requests, before `default` is used again."""
        self._answers.extend(answers)

    def answer_to(self, _received: Received) -> Answer:
        """What this request is told; for a receiver that looks at it first."""
        return self._answers.popleft() if self._answers else self.default

    def release(self) -> None:
        """Nobody is kept waiting any more."""
        self._released.set()

    def answer_well(self) -> None:
        """Forgets the answers of `answer_next` that nobody has got yet."""
        self._answers.clear()

    async def wait_for(
        self, matches: Callable[[Received], bool] = lambda _: True, *, count: int = 1, seconds: float = 120.0
    ) -> list[Received]:
        """The matching requests once there are `count` of them, old ones included; TimeoutError if it takes longer."""
        async with asyncio.timeout(seconds), self._arrived:
            while len(found := [one for one in self.requests if matches(one)]) < count:
                await self._arrived.wait()
            return found

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 — start_server runs us in one
        self._talking.add(task)
        try:
            await self._answer(await _read(reader), writer)
        except (OSError, EOFError, ValueError):
            # The other side went away or talks nonsense: a receiver shrugs.
            pass
        finally:
            self._talking.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, received: Received, writer: asyncio.StreamWriter) -> None:
        answer = self.answer_to(received)
        async with self._arrived:
            self.requests.append(received)
            self._arrived.notify_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(answer.delay):
                await self._released.wait()
        if answer.drop:
            writer.transport.abort()
            return
        headers = {"content-length": str(len(answer.body)), "connection": "close", **answer.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {answer.status} -\r\n{head}\r\n".encode() + answer.body)
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method=method, path=path, headers=headers, body=body, at=datetime.now(UTC))
