"""What uvicorn does not tell an app: the peer's certificate, and how to drop its connection."""

import asyncio
import socket
import struct
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SCOPE_KEY: Final = "emulator"


class Connection:
    """The TCP connection below one request; `partner_cn` is None without a verified client certificate."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.partner_cn = _common_name(transport)

    def reset(self) -> None:
        """Ends the connection at once and without a word: the client sees a reset, also under TLS."""
        raw = self._transport.get_extra_info("socket")
        # Linger 0 turns the close into RST; a plain close would say goodbye with FIN.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()


class BankProtocol(HttpToolsProtocol):
    """Puts the Connection into the ASGI scope's extensions."""

    connection: Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn itself
        super().connection_made(transport)
        self.connection = Connection(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {SCOPE_KEY: {"connection": self.connection}}


def _common_name(transport: asyncio.BaseTransport) -> str | None:
    tls: Any = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert() if tls is not None else None
    if not certificate:
        return None
    names = [value for part in certificate["subject"] for key, value in part if key == "commonName"]
    return str(names[0]) if names else None
