"""A CONNECT proxy on real sockets that believes nothing: it knows addresses, not names."""

import asyncio
import base64
from collections.abc import Mapping
from contextlib import suppress

from tests.webhooks.receivers import Receiver, Script


def tunnels(to: Mapping[str, int], *, credentials: str | None = None) -> Script:
    """Tunnels a CONNECT whose target stands in `to` to that local port, answers 502 to others, 407 to strangers.

    Each CONNECT's head is kept as a request of the receiver.
    """
    basic = None if credentials is None else base64.b64encode(credentials.encode())

    async def script(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        receiver.requests.append((head, b""))
        if basic is not None and b"proxy-authorization: basic " + basic.lower() + b"\r\n" not in head.lower():
            writer.write(b'HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
            return
        port = to.get(target_of(head))
        if port is None:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nnope")
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))
        finally:
            far_writer.close()

    return script


def target_of(head: bytes) -> str:
    """What a CONNECT asks for."""
    method, target, version = head.split(b"\r\n", 1)[0].split(b" ")
    assert (method, version) == (b"CONNECT", b"HTTP/1.1")
    return target.decode()


def targets(proxy: Receiver) -> list[str]:
    """Everything this proxy was asked for, in order."""
    return [target_of(head) for head, _ in proxy.requests]


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
