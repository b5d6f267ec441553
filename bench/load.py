"""A closed loop of load: so many lanes, each does its next operation when the last one has ended."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec

Operation = Callable[[], Awaitable[str | None]]
# A system that only fails is not a benchmark: a lane that fails this often stops.
MOST_FAILURES_A_LANE = 20


class Tally(msgspec.Struct, kw_only=True):
    """`latencies` of what succeeded, in milliseconds; `seconds` from the first start to the last end."""

    latencies: list[float]
    failures: dict[str, int]
    seconds: float
    cpu_seconds: float = 0.0


async def closed_loop(lanes: Sequence[Operation], seconds: float) -> Tally:
    """Starts operations for `seconds` and waits for the last ones. An operation gives None, or what went wrong."""
    latencies: list[float] = []
    failures: Counter[str] = Counter()
    began = time.perf_counter()
    ends = began + seconds

    async def lane(operation: Operation) -> None:
        failed = 0
        while (started := time.perf_counter()) < ends and failed < MOST_FAILURES_A_LANE:
            wrong = await operation()
            if wrong is None:
                latencies.append((time.perf_counter() - started) * 1000)
            else:
                failures[wrong] += 1
                failed += 1

    await asyncio.gather(*(lane(operation) for operation in lanes))
    return Tally(latencies=latencies, failures=dict(failures), seconds=time.perf_counter() - began)
