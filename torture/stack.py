"""The system under torture: the real parts as processes, each brought back by the supervisor of `make up`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from dev.layout import Ports
from dev.logs import LogBoard
from dev.postgres_home import remove_home
from dev.process import Command
from dev.supervisor import Child, Supervisor
from dev.system import System
from torture import settings

PARTS = ("postgres", "temporal", "worker", "api")
_READY_SECONDS = 90.0
_STEP = 0.1


class TortureStack:
    """A fresh system over `folder`, everything it prints in `folder/system.log`; the demo merchant is seeded.

    `async with TortureStack(folder) as stack`. The emulated bank is never killed: it is the judge's witness.
    """

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o711)  # Postgres may run as `nobody`, who walks through it
        self.log = folder / "system.log"
        self.system = System(
            folder / "state", Ports.free(), settings=settings.system(), postgres_settings=settings.POSTGRES
        )
        self._output = self.log.open("a", encoding="utf-8")
        self._supervisor = Supervisor(LogBoard(self._output))
        self._held = {part: asyncio.Event() for part in PARTS}
        self._worker_since = 0.0

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
        killed_at = time.time()
        killed = self._supervisor.kill9(part)
        await asyncio.sleep(pause)
        self._held[part].set()
        ends = time.monotonic() + _READY_SECONDS
        while not await self.serves(part, since=killed_at):
            if time.monotonic() > ends:
                raise TimeoutError(f"{part} did not come back")
            await asyncio.sleep(_STEP)
        return killed

    async def serves(self, part: str, *, since: float = 0.0) -> bool:
        """Whether a part serves now; the worker only, if it has asked for work after `since` (Unix time)."""
        system = self.system
        checks: dict[str, Callable[[], Awaitable[bool]]] = {
            "postgres": system.postgres.is_ready,
            "temporal": system.temporal.is_ready,
            "worker": lambda: system.worker_ready(max(since, self._worker_since)),
            # Only that it listens: whether it is ready depends on the others, who may be dead.
            "api": self._api_listens,
        }
        return await checks[part]()

    async def _start(self) -> None:
        system, postgres = self.system, self.system.postgres
        await self._run("postgres", postgres.command, postgres.is_ready, postgres.prepare)
        await postgres.bootstrap()
        await self._run("temporal", system.temporal.command, system.temporal.is_ready)
        await self._supervisor.start(Child(command=system.emulator_command(), ready=system.emulator_ready))
        await system.migrate()
        await system.seed()
        await self._run("worker", system.worker_command, lambda: self.serves("worker"), self._worker_starts)
        await self._run("api", system.api_command, self._api_listens)

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

    async def _worker_starts(self) -> None:
        self._worker_since = time.time()

    async def _api_listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.system.ports.api)
        except OSError:
            return False
        writer.close()
        return True

    async def _stop(self) -> None:
        self._supervisor.kill()  # nothing of it is kept but the log
        for event in self._held.values():
            event.set()
        await self._supervisor.stop()
        remove_home(self.system.layout.state_dir)
        self._output.close()
