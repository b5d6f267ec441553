"""A line between us and a server that can be cut and mended."""

import asyncio
from contextlib import suppress
from typing import Self


class Wire:
    """TCP from `port` to a server on this machine. Cut, it drops what is connected and every new call."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._whole = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._refused = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.cut()
        if self._server.is_serving():
            self._server.close()
        await self._server.wait_closed()

    async def cut(self) -> None:
        """Nothing passes any more; who is connected is reset."""
        self._whole = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def mend(self) -> None:
        self._whole = True

    async def refused_somebody(self) -> None:
        """Returns when a call came while the line was cut."""
        async with asyncio.timeout(10):
            await self._refused.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            self._refused.set()
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            self._writers -= {writer, back}


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()
    with suppress(OSError):
        await target.wait_closed()
