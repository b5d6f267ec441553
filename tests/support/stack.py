"""The whole system as processes for crash tests: every part can be killed and brought back alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx

from dev.layout import Ports
from dev.migrations import ROOT
from dev.postgres_home import remove_home
from dev.process import Command, ManagedProcess
from dev.system import WORKERS, System
from tests.support.emulator import EmulatorAdmin
from tests.support.postgres import TEST_SETTINGS

PARTS = ("postgres", "temporal", "emulator", *WORKERS, "api")
_READY_SECONDS = 120.0  # only a part that will never serve takes so long
# A question is a process of its own for two of the parts: asked more often they would slow down what is waited for.
_READY_POLL = 0.2


class PartFailed(Exception):
    """A part ended, or did not serve in time; the text holds the end of its log."""


class Stack:
    """`parts` of the system over `folder`, logs in `folder/logs/<part>.log`.

    `settings` are further `TOLEM_*` variables for workers and API. `async with Stack(folder) as stack`, or `start()`
    and `stop()`. The demo merchant is seeded; `api()` speaks as it, `emulator` is the bank's own book.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, root: Path = ROOT) -> None:
        self.system = System(folder, Ports.free(), root=root, settings=settings, postgres_settings=TEST_SETTINGS)
        self.emulator = EmulatorAdmin(self.system.emulator_url)
        self._logs = folder / "logs"
        self._logs.mkdir(exist_ok=True)
        self._processes: dict[str, ManagedProcess] = {}
        self._clients: list[httpx.AsyncClient] = []
        self._since: dict[str, float] = {}

    async def __aenter__(self) -> "Stack":
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """All parts in order, with migrations and the demo merchant in between."""
        for part in ("postgres", "temporal", "emulator"):
            await self.start_part(part)
        await self.system.migrate()
        await self.system.seed()
        await self.start_workers()
        await self.start_part("api")

    async def stop(self) -> None:
        """Ends all parts, quickly, and deletes the cluster: nothing is kept but the logs."""
        for client in self._clients:
            await client.aclose()
        await self.emulator.close()
        for part in reversed(PARTS[1:]):
            await self.kill9(part)
        if self.runs("postgres"):
            await self.stop_part("postgres")  # killed, it leaves children that write while its folder is deleted
        remove_home(self.system.layout.state_dir)

    async def heal(self) -> None:
        """Brings back what a test left dead."""
        for part in PARTS:
            if not self.runs(part):
                await self.start_part(part)

    def runs(self, part: str) -> bool:
        process = self._processes.get(part)
        return process is not None and process.returncode is None

    def pid(self, part: str) -> int:
        return self._processes[part].pid

    async def kill9(self, part: str) -> None:
        """SIGKILL; nothing happens if the part does not run."""
        if part in self._processes:
            await self._processes.pop(part).kill9()

    async def stop_part(self, part: str) -> int:
        """The polite stop, as a deployment does it. Returns the exit code."""
        return await self._processes.pop(part).stop()

    async def start_part(self, part: str) -> None:
        """Starts a part that does not run, and waits until it serves."""
        if part == "postgres":
            await self.system.postgres.prepare()
        self._since[part] = time.time()
        with self.log_path(part).open("ab") as output:
            process = self._processes[part] = await ManagedProcess.start(self._command(part), output)
        await self._until_ready(part, process)
        if part == "postgres":
            await self.system.postgres.bootstrap()

    async def start_workers(self) -> None:
        """All workers, at once."""
        await asyncio.gather(*(self.start_part(name) for name in WORKERS))

    async def kill_workers(self) -> None:
        """SIGKILL to all workers."""
        await asyncio.gather(*(self.kill9(name) for name in WORKERS))

    async def restart(self, part: str) -> None:
        """`kill9` and `start_part`."""
        await self.kill9(part)
        await self.start_part(part)

    async def lose_temporal(self) -> None:
        """Temporal forgets everything: killed, its database deleted, and started again as it was on its first day."""
        await self.kill9("temporal")
        for file in self.system.layout.temporal.glob("temporal.db*"):
            file.unlink()
        await self.start_part("temporal")

    def api(self, key: str = "live") -> httpx.AsyncClient:
        """A client of the API with the demo merchant's `live` or `test` key; closed with the stack."""
        keys = {"live": self.system.secrets.live_key, "test": self.system.secrets.test_key}
        client = httpx.AsyncClient(
            base_url=self.system.api_url, headers={"X-API-Key": keys[key]}, trust_env=False, timeout=60
        )
        self._clients.append(client)
        return client

    def log_path(self, part: str) -> Path:
        return self._logs / f"{part}.log"

    def log_tail(self, part: str, lines: int = 60) -> str:
        """The end of what a part printed."""
        path = self.log_path(part)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def _command(self, part: str) -> Command:
        system = self.system
        if part in WORKERS:
            return system.worker_command(part)
        commands: dict[str, Callable[[], Command]] = {
            "postgres": system.postgres.command,
            "temporal": system.temporal.command,
            "emulator": system.emulator_command,
            "api": system.api_command,
        }
        return commands[part]()

    async def _ready(self, part: str) -> bool:
        system = self.system
        if part in WORKERS:
            return await system.worker_ready(self._since[part], part)
        checks: dict[str, Callable[[], Awaitable[bool]]] = {
            "postgres": system.postgres.is_ready,
            "temporal": system.temporal.is_ready,
            "emulator": system.emulator_ready,
            "api": system.api_ready,
        }
        return await checks[part]()

    async def _until_ready(self, part: str, process: ManagedProcess) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not await self._ready(part):
            if process.returncode is not None or time.monotonic() > deadline:
                raise PartFailed(f"{part} (exit code {process.returncode}) does not serve:\n{self.log_tail(part)}")
            await asyncio.sleep(_READY_POLL)
