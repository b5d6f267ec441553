"""The API under uvicorn, as `python -m api` runs it."""

import asyncio
import socket
import struct
from typing import Any

import uvicorn
from litestar import Litestar
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.request_ids import request_ids

KEEP_ALIVE_SECONDS = 30
_EXTENSION = "tolem.connection"
_RESET = struct.pack("ii", 1, 0)


class Connection:
    """The connection below a request, for an answer that must be able to end although nobody reads it: ASGI itself
    knows only an end behind all that is still to be sent.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.gone = asyncio.Event()
        self._transport = transport

    def cut(self) -> None:
        """Ends it now; what has not been read is thrown away, in the kernel too. `gone` follows at once."""
        if self.gone.is_set():
            return
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()


def connection_of(scope: Any) -> Connection | None:
    """The connection of this request; None under a server that is not ours."""
    found: Connection | None = (scope.get("extensions") or {}).get(_EXTENSION)
    return found


class _Protocol(HttpToolsProtocol):
    """uvicorn's own, which tells each request its connection."""

    _connection: Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._connection = Connection(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.gone.set()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: self._connection}  # type: ignore[dict-item]  # any object may stand there


class Server(uvicorn.Server):
    """Ends the event streams, which have no end of their own, before it waits for the requests that run."""

    def __init__(self, app: Litestar, host: str, port: int, *, drain_seconds: int) -> None:
        self._litestar = app
        config = uvicorn.Config(
            # Outside the framework, so that also an answer for no route at all carries its id.
            request_ids(app),
            host=host,
            port=port,
            http=_Protocol,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=drain_seconds,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn once it has been told to stop."""
        self._litestar.state.services.streams.stop()
        await super().shutdown(sockets)
