"""`python -m bench`: measures, prints Markdown, keeps JSON; exit code 1 when something was lost on the way."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.create import GeneratorFailed, measure_create
from bench.environment import environment
from bench.options import Options
from bench.paid import measure_paid
from bench.report import markdown
from bench.results_file import Results, read, write
from bench.stack import PartFailed
from bench.storm import measure_storm
from bench.told import measure_told
from runtime.leave import leave
from runtime.logging import configure

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.show is not None:
        sys.stdout.write(markdown(read(arguments.show)))
        leave(0)
    # Setting the system up is told by the rooms that do it, if it goes wrong.
    configure("warning", "console", "bench")
    leave(asyncio.run(_run(arguments.what, _options(arguments), arguments.results)))


async def _run(what: str, options: Options, folder: Path) -> int:
    task = asyncio.current_task()
    if task is not None:
        # The stack is taken down on the way out.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    facts = await environment()
    try:
        results = Results(
            started=f"{started.isoformat()}Z",
            environment=facts,
            options=options,
            create=await measure_create(options, _say) if what in {"create", "all"} else None,
            paid=await measure_paid(options, _say) if what in {"paid", "all"} else None,
            storm=await measure_storm(options, _say) if what == "storm" else None,
            told=await measure_told(options, _say) if what == "told" else None,
        )
    except (PartFailed, GeneratorFailed, TimeoutError) as problem:
        _say(f"no figures: {type(problem).__name__} {problem}")
        return 1
    except asyncio.CancelledError:
        _say("stopped")
        return 1
    path = write(results, folder)
    sys.stdout.write(markdown(results))
    _say(f"kept as {path.name}")
    return 1 if results.problems else 0


def _say(line: str) -> None:
    """Progress goes beside the results, which may be redirected into a file."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _options(arguments: argparse.Namespace) -> Options:
    return Options(**{name: getattr(arguments, name) for name in Options.__struct_fields__})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("create", "paid", "all", "storm", "told"),
        default="all",
        help="what to measure; all is create and paid",
    )
    parser.add_argument("--show", type=Path, metavar="FILE", help="only print a kept file as Markdown")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the JSON file goes")
    _add(parser, "rounds", _whole, "create: rounds; ratios are computed within each")
    _add(parser, "seconds", _positive, "create: of load per measurement")
    _add(parser, "in_flight", _wholes, "create: numbers in flight, with commas")
    _add(parser, "open", _whole, "paid: bills open, half to phones and half QR")
    _add(parser, "pay", _whole, "paid: how many of them are paid")
    _add(parser, "window", _positive, "paid: seconds within which they are paid; QR bills live 180")
    _add(parser, "latency_ms", _whole, "paid: milliseconds that the bank takes for a call")
    _add(parser, "poll_connections", _whole, "paid: TOLEM_POLL_CONNECTIONS")
    _add(parser, "bank_calls_per_second", _whole, "paid: TOLEM_BANK_CALLS_PER_SECOND")
    _add(parser, "patience", _positive, "paid: seconds that the last webhook is waited for")
    _add(parser, "events", _whole, "storm: events in all rounds together, with the ill receivers and without")
    _add(parser, "receivers", _whole, "storm: receivers, five a merchant")
    _add(parser, "rate", _positive, "storm: events a second")
    _add(parser, "storm_rounds", _whole, "storm: rounds without and with the ill receivers, in turn")
    _add(parser, "warm_up", float, "storm: seconds at the begin of each run that are not timed")
    parser.add_argument(
        "--one-worker", action="store_true", help="storm: no worker process of its own for what failed once"
    )
    _add(parser, "told_rate", _positive, "told: events a second")
    _add(parser, "told_seconds", _positive, "told: of load")
    _add(parser, "seed", int, "paid: of who pays when; storm, told: of the moments")
    return parser


def _add(parser: argparse.ArgumentParser, field: str, kind: Callable[[str], object], text: str) -> None:
    parser.add_argument(f"--{field.replace('_', '-')}", type=kind, default=getattr(Options(), field), help=text)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above zero")
    return number


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _wholes(text: str) -> tuple[int, ...]:
    return tuple(_whole(part) for part in text.split(","))


if __name__ == "__main__":
    main()
