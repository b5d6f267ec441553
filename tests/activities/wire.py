"""A line between us and a server that can be cut, mended, and made deaf at a word."""

import asyncio
from contextlib import suppress
from typing import Self


class Wire:
    """TCP from `port` to a server on this machine. Cut, it resets what is connected and every new call."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._whole = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._refused = asyncio.Event()
        self._mute_at: bytes | None = None
        self._audible = asyncio.Event()
        self._audible.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.cut()
        self._audible.set()
        self._server.close()
        await self._server.wait_closed()

    def mute_at(self, word: bytes) -> None:
        """From the moment we say `word` (lower case), which still arrives, no answer comes back until `mend`."""
        self._mute_at = word

    def cut(self) -> None:
        """Nothing passes any more; who is connected is reset."""
        self._whole = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        self._whole, self._mute_at = True, None
        self._audible.set()

    async def refused_somebody(self) -> None:
        """Returns when a call came while the line was cut."""
        async with asyncio.timeout(60):
            await self._refused.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            self._refused.set()
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._say(reader, back), self._hear(there, writer))
        finally:
            self._writers -= {writer, back}

    async def _say(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if self._mute_at is not None and self._mute_at in data.lower():
                    self._audible.clear()
                target.write(data)
                await target.drain()
        await _close(target)

    async def _hear(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._audible.wait()
                target.write(data)
                await target.drain()
        await _close(target)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
