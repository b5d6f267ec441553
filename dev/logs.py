"""Many programs' output in one terminal: every line carries the name of who said it."""

import asyncio
import contextlib
import os
import sys
from itertools import cycle
from typing import TextIO

_COLOURS = ("36", "35", "32", "33", "34", "95", "96", "92")
_CHUNK = 65_536


class LogBoard:
    """Writes whole lines with a name before each, coloured where `out` is a terminal (and NO_COLOR is not set)."""

    def __init__(self, out: TextIO | None = None, width: int = 10) -> None:
        self._out = out or sys.stdout
        self._width = width
        self._colours: dict[str, str] = {}
        self._palette = cycle(_COLOURS)
        self._coloured = self._out.isatty() and "NO_COLOR" not in os.environ
        self._muted: set[str] = set()

    def say(self, name: str, line: str) -> None:
        """Shows one line of `name`. A terminal that is gone is no reason to stop the system."""
        if name in self._muted:
            return
        prefix = f"{name:<{self._width}} │ "
        if self._coloured:
            colour = self._colours.setdefault(name, next(self._palette))
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        with contextlib.suppress(OSError, ValueError):
            self._out.write(f"{prefix}{line}\n")
            self._out.flush()

    def mute(self, name: str) -> None:
        """Shows nothing more of `name`: some programs cry while they are being stopped."""
        self._muted.add(name)

    async def follow(self, name: str, reader: asyncio.StreamReader) -> None:
        """Shows what comes out of `reader` until it ends. A line longer than 64 KiB is shown in parts."""
        rest = b""
        while chunk := await reader.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.say(name, _text(line))
            if len(rest) >= _CHUNK:
                self.say(name, _text(rest))
                rest = b""
        if rest:
            self.say(name, _text(rest))


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r")
