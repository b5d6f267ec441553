"""The system under measurement: the real parts as processes, in a folder that is deleted afterwards."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.raw_worker import READY
from dev.layout import Ports
from dev.migrations import ROOT
from dev.postgres_home import remove_home
from dev.process import Command, ManagedProcess
from dev.system import WORKERS, System
from runtime.task_queues import QUEUE_WORDS

RAW_WORKER = "raw worker"
# As docker-compose.yml runs it, with no line a request in the logs and no limit of requests.
SHIPPED = {"TOLEM_WORKER_SANDBOX": "false", "TOLEM_LOG_LEVEL": "warning", "TOLEM_RATE_LIMIT_PER_MINUTE": "0"}
_READY_SECONDS = 90.0
_TAIL_LINES = 30


class PartFailed(Exception):
    """A part ended or does not serve; the text holds the end of its log."""


class BenchStack:
    """Every part of a fresh system on free ports, durable Postgres settings, the demo merchant seeded.

    `settings` are further `TOLEM_*` variables of API and workers. With `one_worker`, one process serves all queues.
    `async with BenchStack(...) as stack`.
    """

    def __init__(self, settings: Mapping[str, str], *, one_worker: bool = False) -> None:
        self._workers = {"worker": QUEUE_WORDS} if one_worker else WORKERS
        self._folder = Path(tempfile.mkdtemp(prefix="tolem-bench-"))
        self._folder.chmod(0o711)  # Postgres may run as `nobody`, who walks through it
        self.system = System(self._folder / "state", Ports.free(), settings={**SHIPPED, **settings})
        self._processes: dict[str, ManagedProcess] = {}

    async def __aenter__(self) -> Self:
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

    async def start_raw_worker(self) -> None:
        """The yardstick's worker, beside the product's."""
        command = Command(
            name=RAW_WORKER,
            argv=(sys.executable, "-m", "bench.raw_worker"),
            env=self.system.process_environment(),
            cwd=ROOT,
        )
        await self._start_part(RAW_WORKER, command, self._raw_worker_ready)

    async def restart_worker(self) -> None:
        """Killed by SIGKILL, and started again."""
        await self._processes.pop("worker").kill9()
        await self._start_worker("worker")

    @property
    def pids(self) -> dict[str, int]:
        """The process of each part."""
        return {name: process.pid for name, process in self._processes.items()}

    def check_alive(self) -> None:
        """`PartFailed` if a part has ended: nothing is restarted, figures of a half system are none."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                raise PartFailed(f"{name} ended with {process.returncode}:\n{self.log_tail(name)}")

    def log_tail(self, name: str) -> str:
        """The end of what a part printed."""
        lines = self._log(name).read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    async def _start(self) -> None:
        system = self.system
        await system.postgres.prepare()
        await self._start_part("postgres", system.postgres.command(), system.postgres.is_ready)
        await system.postgres.bootstrap()
        await self._start_part("temporal", system.temporal.command(), system.temporal.is_ready)
        await self._start_part("emulator", system.emulator_command(), system.emulator_ready)
        await system.migrate()
        await system.seed()
        for name in self._workers:
            await self._start_worker(name)
        await self._start_part("api", system.api_command(), system.api_ready)

    async def _start_worker(self, name: str) -> None:
        since, command = time.time(), self.system.worker_command(name, self._workers[name])
        await self._start_part(name, command, lambda: self.system.worker_ready(since, name))

    async def _start_part(self, name: str, command: Command, ready: Callable[[], Awaitable[bool]]) -> None:
        with self._log(name).open("ab") as output:
            process = self._processes[name] = await ManagedProcess.start(command, output)
        ends = time.monotonic() + _READY_SECONDS
        while not await ready():
            if process.returncode is not None or time.monotonic() > ends:
                raise PartFailed(f"{name} does not serve (exit code {process.returncode}):\n{self.log_tail(name)}")
            await asyncio.sleep(0.1)

    async def _stop(self) -> None:
        for name in reversed(list(self._processes)):
            await self._processes.pop(name).kill9()  # nothing of it is kept
        remove_home(self.system.layout.state_dir)
        shutil.rmtree(self._folder)

    async def _raw_worker_ready(self) -> bool:
        return READY in self.log_tail(RAW_WORKER)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"
