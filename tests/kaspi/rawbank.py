"""A bank of bare sockets: TLS, one request at a time, and a scripted answer of any ugliness."""

import asyncio
import socket
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

from tests.kaspi.pki import Authority, Leaf


@dataclass
class Seen:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    writer: asyncio.StreamWriter


Reply = Callable[[Seen], Awaitable[None]]


@dataclass
class RawBank:
    port: int = 0
    reply: Reply | None = None
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    def url(self, scheme: str = "r1") -> str:
        return f"https://127.0.0.1:{self.port}/{scheme}/v01"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while True:
                request = await _read(reader, writer, number)
                self.seen.append(request)
                assert self.reply is not None
                await self.reply(request)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body, number, writer)


def answer(body: bytes | str, status: str = "200 OK", content_type: str = "application/json", *more: str) -> Reply:
    """A well-formed HTTP answer with this body."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(data)}", *more]
    return send("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


def send(data: bytes) -> Reply:
    """These bytes exactly; the connection stays open."""

    async def reply(request: Seen) -> None:
        request.writer.write(data)
        await request.writer.drain()

    return reply


def send_and_close(data: bytes) -> Reply:
    async def reply(request: Seen) -> None:
        request.writer.write(data)
        await request.writer.drain()
        request.writer.close()

    return reply


async def reset(request: Seen) -> None:
    """Tears the TCP connection down without a TLS goodbye."""
    request.writer.transport.abort()


async def silence(_request: Seen) -> None:
    """Never answers; the client has to give up by itself."""
    await asyncio.Event().wait()


def server_tls(leaf: Leaf, client_ca: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(leaf.pem + leaf.key_pem())
        file.flush()
        context.load_cert_chain(file.name)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.pem)
    return context


@asynccontextmanager
async def running(tls: ssl.SSLContext) -> AsyncIterator[RawBank]:
    bank = RawBank()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await bank.serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    bank.port = server.sockets[0].getsockname()[1]
    try:
        yield bank
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@contextmanager
def strict_door(tls: ssl.SSLContext) -> Iterator[int]:
    """The port of a TLS server that says why it refuses a handshake, as real ones do; asyncio's just hangs up.
    It answers nobody.
    """
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                raw, _ = listening.accept()
                with tls.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as guest:
                    with suppress(ssl.SSLError):
                        guest.do_handshake()
                    # The alert must not be overtaken by a reset, so what the guest still sends is read.
                    guest.shutdown(socket.SHUT_WR)
                    while guest.recv(4096):
                        pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)  # wakes the accept
        listening.close()
        thread.join()
