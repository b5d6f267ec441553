"""The dev stack as a real process, with stand-ins for worker and API and everything else real."""

import asyncio
import json
import os
import random
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from dev.layout import Ports
from dev.migrations import ROOT
from dev.ports import is_free
from dev.postgres import EmbeddedPostgres
from dev.postgres_home import postgres_home, remove_home
from dev.system import WORKERS
from dev.terminal import own_foreground_group
from tests.support.processes import until_gone

pytestmark = pytest.mark.long

STANDINS = Path(__file__).parent / "standins"
PARTS = ("postgres", "temporal", "emulator", *WORKERS, "api")


class Run:
    """One `make up`, read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    @classmethod
    async def start(cls, folder: Path, base: int) -> "Run":
        return cls(await spawn(*stack_argv(folder, base)))

    async def until_said(self, pattern: str) -> "re.Match[str]":
        assert self.process.stdout
        async with asyncio.timeout(90):
            while not (found := re.search(pattern, self.said)):
                line = await self.process.stdout.readline()
                assert line, f"ended without saying {pattern!r}:\n{self.said}"
                self.said += line.decode()
        return found

    async def pids(self) -> dict[str, int]:
        await self.until_said(r"api is ready after")
        return {part: int((await self.until_said(rf"{part} is ready after .*pid (\d+)"))[1]) for part in PARTS}

    async def ended(self) -> int:
        assert self.process.stdout
        async with asyncio.timeout(60):
            self.said += (await self.process.stdout.read()).decode()
            return await self.process.wait()


@pytest.fixture
async def folder(servers_dir: Path, request: pytest.FixtureRequest) -> AsyncIterator[Path]:
    place = servers_dir / request.node.name
    (place / "root").mkdir(parents=True)
    for program in (STANDINS / "worker.py", STANDINS / "api", ROOT / "emulator"):
        (place / "root" / program.name).symlink_to(program)
    yield place
    remove_home(place / "state")


@pytest.fixture
def base() -> int:
    # Below the range that connections of this machine take their own ports from.
    bases = random.sample(range(10_000, 30_000, 10), 2_000)
    return next(base for base in bases if all(map(is_free, Ports.from_base(base).named().values())))


async def test_up_restarts_a_crashed_part_refuses_a_twin_and_ends_clean(folder: Path, base: int) -> None:
    run = await Run.start(folder, base)
    pids = await run.pids()
    await run.until_said(r"Tölem is ready[\s\S]*curl[\s\S]*curl[\s\S]*curl.*\n")

    os.kill(pids["worker"], signal.SIGKILL)
    await run.until_said(r"worker was ended by signal 9; starting it again")
    pids["worker"] = int((await run.until_said(r"worker is back \(pid (\d+)\)"))[1])

    twin = await Run.start(folder, base + 100)
    assert await twin.ended() == 1
    assert f"already runs in {folder / 'state'} (pid {run.process.pid})" in twin.said

    family = family_of(run.process.pid)
    assert {process.pid for process in family} >= set(pids.values())
    run.process.send_signal(signal.SIGTERM)
    assert await run.ended() == 0
    await until_gone(*family)
    order = [run.said.index(words) for words in ("stopping", "database system is shut down", "stopped")]
    assert order == sorted(order)


async def test_a_second_up_keeps_data_and_secrets(folder: Path, base: int) -> None:
    first = await Run.start(folder, base)
    await first.until_said("Try it")
    before = secret_files(folder)
    state = folder / "state"
    database = EmbeddedPostgres(postgres_home(state), base + 5).database()
    connection = await asyncpg.connect(database.owner_dsn)
    await connection.execute("CREATE TABLE kept (word text)")
    await connection.close()
    first.process.send_signal(signal.SIGINT)
    assert await first.ended() == 0

    second = await Run.start(folder, base)
    await second.until_said("Try it")

    connection = await asyncpg.connect(database.owner_dsn)
    assert await connection.fetchval("SELECT count(*) FROM kept") == 0
    await connection.close()
    assert secret_files(folder) == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state / "secrets.json", state / "dev.json", state / "env"))
    assert json.loads((state / "dev.json").read_text())["api"] == f"http://127.0.0.1:{base}"
    second.process.send_signal(signal.SIGINT)
    assert await second.ended() == 0


async def test_nothing_outlives_a_killed_supervisor_and_the_next_up_recovers(folder: Path, base: int) -> None:
    run = await Run.start(folder, base)
    await run.pids()
    family = family_of(run.process.pid)

    run.process.kill()
    await run.process.wait()

    await until_gone(*family)
    again = await Run.start(folder, base)
    await again.pids()
    again.process.send_signal(signal.SIGTERM)
    assert await again.ended() == 0


async def test_a_taken_port_is_named_with_its_holder_and_the_way_out(folder: Path, base: int) -> None:
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", base + 3))
        squatter.listen()
        run = await Run.start(folder, base)
        assert await run.ended() == 1
    assert f"port {base + 3} (temporal) is taken by" in run.said
    assert f"(pid {os.getpid()})" in run.said
    assert f"TOLEM_DEV_PORT_BASE={base + 1000} make up" in run.said


async def test_a_part_that_cannot_start_stops_the_rest_and_says_so(folder: Path, base: int) -> None:
    (folder / "root" / "worker.py").unlink()
    (folder / "root" / "worker.py").write_text("raise SystemExit('no such luck')")
    run = await Run.start(folder, base)
    await run.until_said("emulator is ready after")
    family = family_of(run.process.pid)
    assert await run.ended() == 1
    assert "no such luck" in run.said
    assert "cannot start: worker ended with exit code 1" in run.said
    await until_gone(*family)


async def test_a_signal_while_starting_stops_at_once(folder: Path, base: int) -> None:
    (folder / "root" / "worker.py").unlink()
    (folder / "root" / "worker.py").write_text("import time\ntime.sleep(600)")  # it is never ready before the signal
    run = await Run.start(folder, base)
    await run.until_said("postgres is ready after")
    family = family_of(run.process.pid)
    run.process.send_signal(signal.SIGINT)
    assert await run.ended() == 0
    assert "Tölem is ready" not in run.said
    await until_gone(*family)


async def test_ctrl_c_in_a_terminal_reaches_us_and_not_make(folder: Path, base: int) -> None:
    # make answers SIGINT by dying from it: the exit code is 0 only if Ctrl-C never gets to it.
    makefile = folder / "Makefile"
    makefile.write_text("up:\n\t@exec " + " ".join(stack_argv(folder, base)) + "\n")
    in_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    run = Run(await spawn(sys.executable, "-c", in_terminal, "make", "-f", str(makefile), "up"))
    await run.until_said("Try it")
    family = family_of(run.process.pid)

    assert run.process.stdin
    run.process.stdin.write(b"\x03")

    assert await run.ended() == 0, run.said
    assert "stopped" in run.said
    await until_gone(*family)


def test_without_a_terminal_the_group_stays() -> None:
    group = os.getpgrp()
    with own_foreground_group():
        assert os.getpgrp() == group


def stack_argv(folder: Path, base: int) -> list[str]:
    return [sys.executable, str(STANDINS / "run_stack.py"), str(folder / "state"), str(base), str(folder / "root")]


async def spawn(*argv: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, env=environment)


def family_of(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def secret_files(folder: Path) -> list[str]:
    return [(folder / "state" / name).read_text() for name in ("secrets.json", "postgres/passwords.json")]
