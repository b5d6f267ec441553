"""First scenario: creating a bill over HTTP against a bare update-with-start on the same Temporal server."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import msgspec

from bench import generator
from bench.cpu import CpuMeter, difference
from bench.generator import Order
from bench.load import Tally
from bench.options import Options
from bench.results_file import Load, percentile
from bench.stack import BenchStack
from dev.migrations import ROOT

SUBJECTS = ("raw", "sandbox", "live")
# The bills of earlier measurements stay open; looking at them at the bank is not part of a create.
SETTINGS = {"TOLEM_PHONE_POLLING": "false"}
_LINE_LIMIT = 1 << 24
_WARM_UP_PATIENCE = 60.0


class GeneratorFailed(Exception):
    """The load generator did not come back with figures."""


async def measure_create(options: Options, say: Callable[[str], None]) -> list[Load]:
    """Every subject at every number in flight, in each round; `say` hears of each."""
    loads = []
    async with BenchStack(SETTINGS) as stack:
        await stack.start_raw_worker()
        for round_, in_flight, subject in _plan(options):
            load = await _measure(stack, subject, round_, in_flight, options.seconds)
            stack.check_alive()
            say(f"create, round {round_}, {in_flight:>2} in flight, {subject:<7} {load.rate:6.1f}/s")
            loads.append(load)
        if any(load.failures for load in loads):
            say(f"end of the API's log:\n{stack.log_tail('api')}\nend of the worker's log:\n{stack.log_tail('worker')}")
    return loads


def _plan(options: Options) -> Iterator[tuple[int, int, str]]:
    """Who is measured when. Each round begins with another subject: being first must not be an advantage."""
    for round_ in range(1, options.rounds + 1):
        turn = (round_ - 1) % len(SUBJECTS)
        for in_flight in options.in_flight:
            for subject in SUBJECTS[turn:] + SUBJECTS[:turn]:
                yield round_, in_flight, subject


async def _measure(stack: BenchStack, subject: str, round_: int, in_flight: int, seconds: float) -> Load:
    meter = CpuMeter(stack.pids)
    order = _order(stack, subject, in_flight, seconds)
    async with _generator(order, stack.system.process_environment()) as start:
        before = meter.read()
        tally = await start()
        used = difference(before, meter.read())
    created = len(tally.latencies)
    used["generator"] = tally.cpu_seconds
    return Load(
        subject=subject,
        round=round_,
        in_flight=in_flight,
        created=created,
        failures=tally.failures or ({} if created else {"nothing created": 1}),
        seconds=tally.seconds,
        rate=created / tally.seconds,
        p50_ms=percentile(tally.latencies, 0.5) or 0.0,
        p99_ms=percentile(tally.latencies, 0.99) or 0.0,
        cpu_ms={name: cpu * 1000 / max(1, created) for name, cpu in used.items()},
    )


def _order(stack: BenchStack, subject: str, in_flight: int, seconds: float) -> Order:
    if subject == "raw":
        return Order(target="raw", in_flight=in_flight, seconds=seconds)
    secrets = stack.system.secrets
    key = secrets.live_key if subject == "live" else secrets.test_key
    return Order(target="http", in_flight=in_flight, seconds=seconds, origin=stack.system.api_url, key=key)


@asynccontextmanager
async def _generator(order: Order, environment: dict[str, str]) -> AsyncIterator[Callable[[], Awaitable[Tally]]]:
    """A generator that has warmed up; the call starts it and gives its figures."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", generator.__name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        cwd=ROOT,
        limit=_LINE_LIMIT,
    )
    if process.stdin is None or process.stdout is None:
        raise GeneratorFailed("it has no pipes")
    orders, answers = process.stdin, process.stdout

    async def start() -> Tally:
        orders.write(b"go\n")
        line = await answers.readline()
        if not line:
            raise GeneratorFailed(f"it ended with {await process.wait()} and no figures")
        return msgspec.json.decode(line, type=Tally)

    try:
        orders.write(msgspec.json.encode(order) + b"\n")
        async with asyncio.timeout(_WARM_UP_PATIENCE + order.warm_up):
            if (await answers.readline()).decode().strip() != generator.READY:
                raise GeneratorFailed(f"it ended with {await process.wait()} while warming up")
        yield start
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
