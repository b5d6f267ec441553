"""Merchants' servers of every temper, and a name server, on real sockets."""

import asyncio
import ipaddress
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from ssrfguard.resolvers import UdpResolver

Script = Callable[["Receiver", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Receiver:
    """Counts TCP connections and keeps the raw bytes of each request that a script reads."""

    def __init__(self, script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.requests: list[tuple[bytes, bytes]] = []
        self._script = script
        self._host = host
        self._tls = tls
        self.got_request = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def read_request(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        request = (head, await reader.readexactly(length))
        self.requests.append(request)
        self.got_request.set()
        return request

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # Cancelled is how __aexit__ ends a script; asyncio would log it as an error of the server.
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
                await self._script(self, reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


def answers(payload: bytes) -> Script:
    """Reads each request of a connection whole and answers it with these bytes."""

    async def script(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await receiver.read_request(reader)
            writer.write(payload)
            await writer.drain()

    return script


def answers_once(payload: bytes) -> Script:
    """Answers one request and closes the connection."""

    async def script(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.read_request(reader)
        writer.write(payload)
        await writer.drain()

    return script


def status(code: int, body: bytes = b"", *headers: str) -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {code} Word", *headers]
    if code != 204:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def hangs(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes the request and never answers."""
    await receiver.read_request(reader)
    await asyncio.Event().wait()


async def resets(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes the request and answers with a TCP reset."""
    await receiver.read_request(reader)
    reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Makes the close of this connection a RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class NameServer(asyncio.DatagramProtocol):
    """Answers every A and AAAA question with what `zone` says for the name's first label; counts questions for A."""

    def __init__(self, zone: Callable[[str], list[str]]) -> None:
        self.lookups = 0
        self._zone = zone

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self._port: int = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    @property
    def resolver(self) -> UdpResolver:
        """A resolver that asks this server over UDP."""
        # It asks again after `attempt_timeout`, and tests count the questions.
        return UdpResolver(nameservers=("127.0.0.1",), nameserver_port=self._port, timeout=60.0, attempt_timeout=60.0)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end = data.index(b"\x00", 12) + 1
        label = data[13 : 13 + data[12]].decode()
        kind = struct.unpack("!H", data[end : end + 2])[0]
        version = {1: 4, 28: 6}[kind]
        if version == 4:
            self.lookups += 1
        found = [ip.packed for ip in map(ipaddress.ip_address, self._zone(label)) if ip.version == version]
        head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(found), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(raw)) + raw for raw in found)
        self._transport.sendto(head + data[12 : end + 4] + records, addr)
