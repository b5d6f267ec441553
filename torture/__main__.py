"""`python -m torture`: breaks everything for a while and compares all books; exit code 1 when anything is wrong."""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from dev.migrations import MigrationFailed
from dev.postgres import PostgresFailed
from dev.supervisor import ChildFailed
from runtime.leave import leave
from runtime.logging import configure
from torture.plan import make_plan
from torture.report import keep_plan, keep_results, report
from torture.run import Run
from torture.size import SIZES, Size

_SEEDS = 2**31


def main() -> None:
    arguments = _parser().parse_args()
    seed = random.randrange(_SEEDS) if arguments.seed is None else arguments.seed  # noqa: S311 -- not a secret
    configure("error", "console", "torture")
    leave(asyncio.run(_run(seed, _size(arguments), arguments.keep)))


async def _run(seed: int, size: Size, keep: Path | None) -> int:
    folder = keep or Path(tempfile.mkdtemp(prefix="tolem-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    say = _teller()
    say(f"seed {seed}; everything is kept in {folder}")
    plan = make_plan(seed, size)
    keep_plan(plan, folder)
    task = asyncio.current_task()
    if task is not None:
        # The processes are taken down on the way out.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    run = Run(plan, folder, say)
    try:
        evidence, verdict = await run.go()
    except (ChildFailed, PostgresFailed, MigrationFailed, TimeoutError, ExceptionGroup) as problem:
        # A group: several people act at once, and one of them found the bank or the receiver gone.
        traceback.print_exception(problem)
        say(f"no verdict: {type(problem).__name__} {problem}; see system.log")
        return 1
    except asyncio.CancelledError:
        say("stopped")
        return 1
    text = report(plan, run.timing, verdict)
    keep_results(evidence, text, folder)
    sys.stdout.write(text)
    say(f"seed {seed}: {'FAILED' if verdict.violations else 'nothing wrong'}; kept in {folder}")
    return 1 if verdict.violations else 0


def _teller() -> Callable[[str], None]:
    began = time.monotonic()

    def say(line: str) -> None:
        # Progress goes beside the report, which may be redirected into a file.
        sys.stderr.write(f"[{time.monotonic() - began:6.1f} s] {line}\n")
        sys.stderr.flush()

    return say


def _size(arguments: argparse.Namespace) -> Size:
    given = {name: getattr(arguments, name) for name in Size.__struct_fields__}
    return msgspec.structs.replace(
        SIZES[arguments.size], **{name: value for name, value in given.items() if value is not None}
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="small", help="how much of everything (default: small)")
    parser.add_argument("--seed", type=int, help="of the plan; without it a new one, which is printed first")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where logs, plan and evidence go")
    parser.add_argument("--invoices", type=_whole, help="instead of the size's")
    parser.add_argument("--refunds", type=_none_or_more, help="instead of the size's")
    parser.add_argument("--subscriptions", type=_none_or_more, help="instead of the size's")
    parser.add_argument("--kills", type=_none_or_more, help="instead of the size's")
    parser.add_argument("--settle-seconds", type=float, help="that the system may take afterwards")
    return parser


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _none_or_more(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


if __name__ == "__main__":
    main()
