"""The system under torture: the real parts as processes, each brought back by the supervisor of `make up`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from dev.layout import Ports
from dev.logs import LogBoard
from dev.postgres_home import remove_home
from dev.process import Command
from dev.supervisor import Child, Supervisor
from dev.system import WORKERS, System
from torture import settings

# What a worker logs when it polls its queues: asking the engine for its pollers costs a process each time.
_WORKER_READY = '"worker_ready"'
PARTS = ("postgres", "temporal", *WORKERS, "api")
_READY_SECONDS = 90.0
_STEP = 0.2


class _Board(LogBoard):
    """The log, with an ear for the workers. `ready` has the Unix time of each one's last call."""

    def __init__(self, output: TextIO) -> None:
        super().__init__(output)
        self.ready = dict.fromkeys(WORKERS, 0.0)

    def say(self, name: str, line: str) -> None:
        super().say(name, line)
        if name in WORKERS and _WORKER_READY in line:
            self.ready[name] = time.time()


class TortureStack:
    """A fresh system over `folder`, everything it prints in `folder/system.log`; the demo merchant is seeded.

    `async with TortureStack(folder) as stack`. The emulated bank is never killed: it is the judge's witness.
    """

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o711)  # Postgres may run as `nobody`, who walks through it
        self.log = folder / "system.log"
        self.system = System(
            folder / "state", Ports.free(), settings=settings.SYSTEM, postgres_settings=settings.POSTGRES
        )
        self._output = self.log.open("a", encoding="utf-8")
        self._board = _Board(self._output)
        self._supervisor = Supervisor(self._board)
        self._held = {part: asyncio.Event() for part in PARTS}
        self._since = dict.fromkeys(WORKERS, 0.0)

    async def __aenter__(self) -> Self:
        for event in self._held.values():
            event.set()
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def kill(self, part: str, pause: float) -> bool:
        """SIGKILL; the part stays away for `pause` seconds. Returns when it serves again; False if it did not run."""
        self._held[part].clear()
        killed = self._supervisor.kill9(part)
        if part in WORKERS:
            self._since[part] = time.time()
        await asyncio.sleep(max(pause, _STEP))  # the dead don't answer, but the kernel takes a moment
        self._held[part].set()
        ends = time.monotonic() + _READY_SECONDS
        while not await self.serves(part):
            if time.monotonic() > ends:
                raise TimeoutError(f"{part} did not come back")
            await asyncio.sleep(_STEP)
        return killed

    async def all_serve(self) -> None:
        """Returns when every part serves; TimeoutError if that takes too long."""
        async with asyncio.timeout(_READY_SECONDS):
            while not all([await self.serves(part) for part in PARTS]):  # noqa: ASYNC110 -- others' processes send no event
                await asyncio.sleep(_STEP)

    async def serves(self, part: str) -> bool:
        """Whether a part serves now. Of API and Temporal only that they listen: the rest depends on others."""
        if part in WORKERS:
            return self._board.ready[part] > self._since[part]
        if part == "postgres":
            return await self.system.postgres.is_ready()
        ports = self.system.ports
        return await _listens(ports.api if part == "api" else ports.temporal)

    async def _start(self) -> None:
        system, postgres = self.system, self.system.postgres
        await self._run("postgres", postgres.command, postgres.is_ready, postgres.prepare)
        await postgres.bootstrap()
        await self._run("temporal", system.temporal.command, system.temporal.is_ready)
        await self._supervisor.start(Child(command=system.emulator_command(), ready=system.emulator_ready))
        await system.migrate()
        await system.seed()
        for name in WORKERS:
            await self._run_worker(name)
        await self._run("api", system.api_command, lambda: self.serves("api"))

    async def _run(
        self,
        part: str,
        command: Callable[[], Command],
        ready: Callable[[], Awaitable[bool]],
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        async def before() -> None:
            await self._held[part].wait()
            if prepare is not None:
                await prepare()

        await self._supervisor.start(Child(command=command(), ready=ready, before_start=before))

    async def _run_worker(self, name: str) -> None:
        async def starts() -> None:
            self._since[name] = time.time()

        await self._run(name, lambda: self.system.worker_command(name), lambda: self.serves(name), starts)

    async def _stop(self) -> None:
        self._supervisor.kill()  # nothing of it is kept but the log
        for event in self._held.values():
            event.set()
        await self._supervisor.stop()
        remove_home(self.system.layout.state_dir)
        self._output.close()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
