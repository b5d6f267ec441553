import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from dev.logs import LogBoard
from dev.process import Command, ManagedProcess
from dev.supervisor import Child, ChildFailed, Supervisor
from tests.support.processes import runs, until_gone


class Stage:
    """A supervisor with small programs under it; a program is ready when it has touched a file of its name."""

    def __init__(self, folder: Path) -> None:
        self.out = io.StringIO()
        self.supervisor = Supervisor(LogBoard(self.out))
        self._folder = folder

    def child(self, name: str, code: str, *, stop_seconds: float = 60, ready_seconds: float = 60) -> Child:
        ready = self._folder / name

        async def is_ready() -> bool:
            return ready.exists()

        async def before_start() -> None:
            ready.unlink(missing_ok=True)

        program = f"import pathlib, signal, sys, time\nready = pathlib.Path({str(ready)!r}).touch\n{code}"
        command = Command(
            name=name,
            argv=(sys.executable, "-u", "-c", program),
            env={},
            cwd=self._folder,
            stop_seconds=stop_seconds,
        )
        return Child(command=command, ready=is_ready, before_start=before_start, ready_seconds=ready_seconds)

    async def until_said(self, text: str) -> None:
        async with asyncio.timeout(60):
            while text not in self.out.getvalue():  # noqa: ASYNC110 — a StringIO sends no event
                await asyncio.sleep(0.02)


RUN = "ready()\ntime.sleep(600)"
TELL_END = "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye'), sys.exit()))\n" + RUN
IGNORE_END = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + RUN
FORK = "import subprocess\nprint('grandchild', subprocess.Popen(['sleep', '600']).pid)\n" + RUN


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    await stage.supervisor.stop()


async def test_stops_in_reverse_order_and_politely(stage: Stage) -> None:
    for name in ("first", "second"):
        await stage.supervisor.start(stage.child(name, TELL_END))

    await stage.supervisor.stop()

    said = stage.out.getvalue()
    assert said.splitlines() == [f"{name:<10} │ goodbye" for name in ("second", "first")]


async def test_a_crashed_child_comes_back_and_is_told_of(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("shop", RUN))
    before = stage.supervisor.pid("shop")

    os.kill(before, signal.SIGKILL)
    await stage.until_said("shop is back")

    assert stage.supervisor.pid("shop") != before
    assert runs(psutil.Process(stage.supervisor.pid("shop")))
    assert "shop was ended by signal 9; starting it again in 0.5 s" in stage.out.getvalue()


async def test_the_delay_grows_while_it_keeps_crashing(stage: Stage, tmp_path: Path) -> None:
    once = "import os\nif os.path.exists('again'): sys.exit(3)\nopen('again', 'w')\n"
    await stage.supervisor.start(stage.child("shop", once + RUN))

    os.kill(stage.supervisor.pid("shop"), signal.SIGKILL)
    await stage.until_said("shop ended with exit code 3; starting it again in 2 s")

    assert "shop ended with exit code 3; starting it again in 1 s" in stage.out.getvalue()
    # Stopping while it waits for the next try must neither hang nor start it.
    await stage.supervisor.stop()


async def test_a_child_that_ignores_the_polite_signal_is_killed(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("deaf", IGNORE_END, stop_seconds=0.2))
    process = psutil.Process(stage.supervisor.pid("deaf"))

    await stage.supervisor.stop()

    assert not runs(process)


async def test_kill_makes_a_slow_stop_end(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("deaf", IGNORE_END, stop_seconds=600))
    stopping = asyncio.create_task(stage.supervisor.stop())
    await asyncio.sleep(0)

    stage.supervisor.kill()

    await asyncio.wait_for(stopping, 30)


async def test_what_a_crashed_child_leaves_in_its_group_is_killed(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("parent", FORK))
    await stage.until_said("grandchild")
    grandchild = psutil.Process(int(stage.out.getvalue().split()[-1]))

    os.kill(stage.supervisor.pid("parent"), signal.SIGKILL)

    # The crash is noticed although the grandchild still holds the output open.
    await stage.until_said("parent is back")
    await until_gone(grandchild)


async def test_a_child_that_ends_while_starting_is_a_failure(stage: Stage) -> None:
    with pytest.raises(ChildFailed, match="broken ended with exit code 7"):
        await stage.supervisor.start(stage.child("broken", "print('oh no')\nsys.exit(7)"))
    await stage.until_said("oh no")


async def test_a_child_that_is_never_ready_is_a_failure(stage: Stage) -> None:
    with pytest.raises(ChildFailed, match="mute was not ready"):
        await stage.supervisor.start(stage.child("mute", "time.sleep(600)", ready_seconds=0.3))


async def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        "import asyncio, sys\nfrom pathlib import Path\nfrom dev.process import Command, ManagedProcess\n"
        "async def main():\n"
        "    command = Command(name='c', argv=('sleep', '600'), env={'PATH': '/usr/bin:/bin'}, cwd=Path('/'))\n"
        "    print((await ManagedProcess.start(command, sys.stderr.fileno())).pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    root = str(Path(__file__).parents[2])
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(program), stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": root}
    )
    assert parent.stdout
    child = psutil.Process(int(await parent.stdout.readline()))

    parent.kill()
    await parent.wait()

    await until_gone(child)


async def test_a_long_line_does_not_stop_the_others(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("wordy", "print('x' * 300_000)\nprint('after')\n" + RUN))
    await stage.until_said(f"{'wordy':<10} │ after")
    assert stage.out.getvalue().count("x") == 300_000


def test_the_environment_of_a_command_is_not_shown() -> None:
    command = Command(name="api", argv=("true",), env={"TOLEM_CODEC_TOKEN": "hush"}, cwd=Path("/"))
    assert "hush" not in repr(command)


async def test_stop_returns_the_exit_code_and_may_be_repeated(tmp_path: Path) -> None:
    command = Command(name="five", argv=(sys.executable, "-c", "raise SystemExit(5)"), env={}, cwd=tmp_path)
    with (tmp_path / "log").open("wb") as log:
        process = await ManagedProcess.start(command, log)
    assert await process.wait() == 5
    assert await process.stop() == 5
    assert await process.stop() == 5
