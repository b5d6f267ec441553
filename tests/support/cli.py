"""`tolem` as a developer runs it: processes without any setting of ours."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process

from tests.support.waiting import PATIENCE

_STARTED: list[Process] = []


async def kill_all() -> None:
    """Ends what a failed test has left running."""
    while _STARTED:
        process = _STARTED.pop()
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def tolem(*words: str, **variables: str) -> Process:
    """A `tolem` process without any setting of ours but `variables`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOLEM_")}
    environment = {**inherited, **variables}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *words, env=environment, stdout=PIPE, stderr=PIPE
    )
    _STARTED.append(process)
    return process


async def ended(process: Process) -> tuple[int | None, str, str]:
    """Exit code, stdout, and stderr without the frame around it."""
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    return process.returncode, out.decode(), " ".join(err.decode().replace("│", " ").split())


class Listening:
    """A `tolem listen` that runs."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.said: list[str] = []

    @classmethod
    async def start(cls, *words: str, connected: bool = True, **variables: str) -> "Listening":
        started = cls(await tolem("listen", *words, **variables))
        if connected:
            await started.until("Forwarding to")
        return started

    async def until(self, part: str) -> str:
        """The next line with this part."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := (await self.process.stdout.readline()).decode():
                self.said.append(line.rstrip())
                if part in line:
                    return line.strip()
        assert self.process.stderr is not None
        raise AssertionError(f"no line with {part!r}: {self.said}; {(await self.process.stderr.read()).decode()}")

    async def stop(self) -> str:
        """Ctrl-C; what it says in the end."""
        self.process.send_signal(signal.SIGINT)
        code, out, err = await ended(self.process)
        assert (code, err) == (0, "")
        return out
