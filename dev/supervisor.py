"""Keeps a set of programs running together: ordered start, restart of what crashes, reverse-ordered stop."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dev.logs import LogBoard
from dev.process import Command, ManagedProcess

_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_READY_POLL = 0.2
_LAST_WORDS_SECONDS = 3.0


class ChildFailed(Exception):
    """A program ended, or was not ready in time, while the system was starting."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A program to keep running. `ready` tells whether it serves; `before_start` runs before every start of it."""

    command: Command
    ready: Callable[[], Awaitable[bool]]
    before_start: Callable[[], Awaitable[None]] | None = None
    ready_seconds: float = 60.0
    noisy_stop: bool = False


class Supervisor:
    """Runs children until `stop`. A crashed child comes back after 0.5 s, 1 s, 2 s … 30 s; serving resets the delay."""

    def __init__(self, board: LogBoard) -> None:
        self._board = board
        self._children: list[Child] = []
        self._running: dict[str, ManagedProcess] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()

    def pid(self, name: str) -> int:
        """The process that has the name now."""
        return self._running[name].pid

    def kill9(self, name: str) -> bool:
        """SIGKILL to one child and its group, as a crash would; it comes back by itself. False if it does not run."""
        runs = name in self._running and self._running[name].returncode is None
        if runs:
            self._running[name].kill_group()
        return runs

    async def start(self, child: Child) -> None:
        """Starts a child and waits until it serves; `ChildFailed` if it ends before or takes too long."""
        name = child.command.name
        self._children.append(child)
        await self._launch(child)
        if not await self._serves(child):
            code = self._running[name].returncode
            raise ChildFailed(
                f"{name} was not ready within {child.ready_seconds:.0f} s"
                if code is None
                else f"{name} {_ending(code)} while it was starting; its last lines are above"
            )
        self._keepers[name] = asyncio.create_task(self._keep(child), name=f"keep-{name}")

    async def stop(self) -> None:
        """Stops all children, last started first. May be repeated."""
        self._stopping.set()
        for child in reversed(self._children):
            name = child.command.name
            if child.noisy_stop:
                self._board.mute(name)
            if name in self._running:
                await self._running[name].stop()
            if keeper := self._keepers.pop(name, None):
                await keeper
            if name in self._running:
                await self._running.pop(name).stop()
                await self._read_to_end(name)
        self._children.clear()

    def kill(self) -> None:
        """Sends SIGKILL to every group at once: for who cannot wait for `stop`, which then ends soon."""
        self._stopping.set()
        for process in self._running.values():
            process.kill_group()

    async def _launch(self, child: Child) -> None:
        name = child.command.name
        if child.before_start:
            await child.before_start()
        process = await ManagedProcess.start_piped(child.command)
        self._running[name] = process
        self._readers[name] = asyncio.create_task(self._board.follow(name, process.output), name=f"read-{name}")

    async def _serves(self, child: Child) -> bool:
        process = self._running[child.command.name]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(child.ready_seconds):
                while process.returncode is None and not self._stopping.is_set():
                    if await child.ready():
                        return True
                    await asyncio.sleep(_READY_POLL)
        return False

    async def _keep(self, child: Child) -> None:
        name, delay = child.command.name, _FIRST_DELAY
        while True:
            code = await self._running[name].wait()
            # Whatever it left in its group would hold its ports.
            await self._running[name].kill9()
            await self._read_to_end(name)
            if self._stopping.is_set():
                return
            self._board.say("tolem", f"{name} {_ending(code)}; starting it again in {delay:g} s")
            if await self._stops_within(delay):
                return
            if await self._relaunch(child):
                self._board.say("tolem", f"{name} is back (pid {self.pid(name)})")
                delay = _FIRST_DELAY
            elif self._stopping.is_set():
                return
            else:
                delay = min(delay * 2, _LONGEST_DELAY)

    async def _relaunch(self, child: Child) -> bool:
        name = child.command.name
        try:
            await self._launch(child)
        except Exception as problem:  # a failed start is reported and tried again
            self._board.say("tolem", f"{name} could not be started: {problem}")
            return False
        serves = await self._serves(child)
        if not serves and self._running[name].returncode is None and not self._stopping.is_set():
            self._board.say("tolem", f"{name} runs but was not ready within {child.ready_seconds:.0f} s")
        return serves

    async def _read_to_end(self, name: str) -> None:
        # Something that left the group may hold the pipe open for ever.
        await asyncio.wait({self._readers[name]}, timeout=_LAST_WORDS_SECONDS)

    async def _stops_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        return False


def _ending(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
