"""`make up` and `tolem dev`: the whole system in the foreground of one terminal."""

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console

from dev.banner import show_banner, write_addresses
from dev.layout import Layout, Ports
from dev.logs import LogBoard
from dev.migrations import ROOT, MigrationFailed
from dev.ports import holder, is_free
from dev.postgres import PostgresFailed
from dev.supervisor import Child, ChildFailed, Supervisor
from dev.system import WORKERS, System
from dev.terminal import own_foreground_group
from runtime.env import SettingsError
from runtime.leave import leave
from runtime.settings import Dev, load

_US = "tolem"
# Children of a system that was killed a moment ago are still letting go of their ports.
_PORTS_SECONDS = 3.0


class CannotStart(Exception):
    """The system cannot start here and now; the text says what to do."""


class DevStack:
    """One system under a supervisor."""

    def __init__(self, system: System, board: LogBoard) -> None:
        self._system = system
        self._board = board
        self._supervisor = Supervisor(board)
        self._since: dict[str, float] = {}

    async def start(self) -> None:
        """Brings everything up in order; returns when the API says that it is ready."""
        system, postgres, temporal = self._system, self._system.postgres, self._system.temporal
        await self._serve(Child(command=postgres.command(), ready=postgres.is_ready, before_start=postgres.prepare))
        await postgres.bootstrap()
        await self._serve(Child(command=temporal.command(), ready=temporal.is_ready, noisy_stop=True))
        await self._serve(Child(command=system.emulator_command(), ready=system.emulator_ready))
        await self._step("migrations", system.migrate)
        await self._step("demo merchant", system.seed)
        for name in WORKERS:
            await self._serve(self._worker(name))
        await self._serve(Child(command=system.api_command(), ready=system.api_ready))

    async def stop(self) -> None:
        """Stops everything in reverse order."""
        await self._supervisor.stop()

    def kill(self) -> None:
        """Makes a `stop` that takes too long end now."""
        self._supervisor.kill()

    async def _serve(self, child: Child) -> None:
        name, began = child.command.name, time.monotonic()
        await self._supervisor.start(child)
        took, pid = time.monotonic() - began, self._supervisor.pid(name)
        self._board.say(_US, f"{name} is ready after {took:.1f} s (pid {pid})")

    async def _step(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        began = time.monotonic()
        await step()
        self._board.say(_US, f"{name}: done in {time.monotonic() - began:.1f} s")

    def _worker(self, name: str) -> Child:
        async def starts() -> None:
            self._since[name] = time.time()

        async def ready() -> bool:
            return await self._system.worker_ready(self._since[name], name)

        return Child(command=self._system.worker_command(name), ready=ready, before_start=starts)


async def run(state_dir: Path, ports: Ports, root: Path = ROOT) -> int:
    """Runs the system until SIGINT, SIGTERM or SIGHUP (a second one hurries). Exit code 0, or 1: it cannot start."""
    board = LogBoard()
    try:
        with _only_one(Layout(state_dir)):
            await _check_ports(ports)
            system = System(state_dir, ports, root=root)
            async with _signals() as stop, _running(DevStack(system, board), stop) as stack:
                if await _unless(stop, stack.start()):
                    write_addresses(system)
                    show_banner(system, Console(highlight=False))
                    await stop.wait()
                board.say(_US, "stopping (Ctrl-C again to hurry) …")
    except (CannotStart, ChildFailed, PostgresFailed, MigrationFailed) as problem:
        board.say(_US, f"cannot start: {problem}")
        return 1
    board.say(_US, "stopped")
    return 0


def main() -> None:
    """The entry point of `python -m dev.stack` and `tolem dev`."""
    board = LogBoard()
    code = 1
    try:
        base = load(Dev)[Dev].port_base
        with own_foreground_group():
            code = asyncio.run(run(ROOT / ".tolem", Ports.from_base(base)))
    except SettingsError as problems:
        board.say(_US, str(problems))
    leave(code)


@contextmanager
def _only_one(layout: Layout) -> Iterator[None]:
    layout.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    with layout.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CannotStart(
                f"Tölem already runs in {layout.state_dir} (pid {lock.read().strip()}); "
                "stop it with Ctrl-C in its terminal, or try it out with `make demo`"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


async def _check_ports(ports: Ports) -> None:
    deadline = time.monotonic() + _PORTS_SECONDS
    while busy := {name: port for name, port in ports.named().items() if not is_free(port)}:
        if time.monotonic() > deadline:
            lines = [f"port {port} ({name}) is taken by {holder(port)}" for name, port in busy.items()]
            raise CannotStart(
                "; ".join(lines) + f". Free {'it' if len(lines) == 1 else 'them'}, or move all ports: "
                f"TOLEM_DEV_PORT_BASE={ports.api + 1000} make up"
            )
        await asyncio.sleep(0.1)


class _Signals:
    """Counts the requests to stop: `wait` for the first, `hurry` is called by each later one."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.hurry: Callable[[], None] = lambda: None

    async def wait(self) -> None:
        await self._asked.wait()

    def ask(self) -> None:
        if self._asked.is_set():
            self.hurry()
        self._asked.set()


@asynccontextmanager
async def _signals() -> AsyncIterator[_Signals]:
    loop, asked = asyncio.get_running_loop(), _Signals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, asked.ask)
    yield asked
    # Not put back: a signal that comes while the last files are closed must not cut that short.


@asynccontextmanager
async def _running(stack: DevStack, stop: _Signals) -> AsyncIterator[DevStack]:
    stop.hurry = stack.kill
    try:
        yield stack
    finally:
        await stack.stop()


async def _unless(stop: _Signals, work: Awaitable[None]) -> bool:
    """Waits for `work`; False if the request to stop came first and cut it short."""
    working, asked = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if working.done():
        working.result()
        return True
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return False


if __name__ == "__main__":
    main()
