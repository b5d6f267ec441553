"""One child process: started in its own group, stopped with escalation, never outliving us."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_SHIM = Path(__file__).with_name("exec_child.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """How to start and stop one program. `env` is complete (nothing is inherited) and may hold secrets.

    `stop_signal` asks politely, SIGKILL follows after `stop_seconds`. `death_signal` is what the kernel sends when
    the process that started it is gone.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0
    death_signal: signal.Signals = signal.SIGKILL


class ManagedProcess:
    """A running `Command`; `output` is what it prints, if it was started with `start_piped`.

    Start it from the main thread only: the kernel's parent-death signal follows the thread.
    """

    def __init__(self, command: Command, process: asyncio.subprocess.Process) -> None:
        self.command = command
        self.output = asyncio.StreamReader()
        self._process = process
        self._swept = False

    @classmethod
    async def start(cls, command: Command, output: IO[bytes] | int) -> "ManagedProcess":
        """Starts the program with stdout and stderr going to the file `output`."""
        shim = (sys.executable, "-I", "-S", str(_SHIM), str(os.getpid()), str(int(command.death_signal)))
        process = await asyncio.create_subprocess_exec(
            *shim,
            command.user or "-",
            "--",
            *command.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(command.env),
            cwd=command.cwd,
            start_new_session=True,
        )
        return cls(command, process)

    @classmethod
    async def start_piped(cls, command: Command) -> "ManagedProcess":
        """Starts the program; what it prints is read from `output`."""
        # Not asyncio's PIPE: its wait() would last until the last grandchild that holds the pipe has ended.
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(ours, "rb", 0))
        try:
            started = await cls.start(command, theirs)
        finally:
            os.close(theirs)
        started.output = reader
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    async def stop(self) -> int:
        """Asks with the command's stop signal, then kills the whole group. Returns the exit code; may be repeated."""
        if self.returncode is None:
            self.send(self.command.stop_signal)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.command.stop_seconds):
                    await self.wait()
        return await self.kill9()

    async def kill9(self) -> int:
        """SIGKILL to the process and to whatever it left in its group; waits until it is gone."""
        self.kill_group()
        return await self.wait()

    def send(self, number: signal.Signals) -> None:
        """Sends to the process alone; nothing happens if it has ended."""
        if self.returncode is None:
            self._process.send_signal(number)

    def kill_group(self) -> None:
        """`kill9` without waiting."""
        if self._swept:
            return  # long ended: the number may be somebody else's group by now
        # macOS answers EPERM for a group of zombies; either way nothing is left to kill.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._swept = self.returncode is not None
