"""Workers inside the test's own process."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from temporalio.worker import Worker

log = structlog.get_logger(__name__)

STOPS_WITHIN = 60.0


@asynccontextmanager
async def working(workers: Iterable[Worker]) -> AsyncIterator[None]:
    """They work inside, and all stop at once, as worker.py does it.

    One that does not come to its end is left behind: with temporalio 1.35 the core's `finalize_shutdown` waits for ever
    about once in some thousand stops, when everything is done. A process is ended then by whoever runs it.
    """
    async with AsyncExitStack() as stack:
        at_work = [await stack.enter_async_context(worker) for worker in workers]
        yield
        stops = [asyncio.create_task(worker.shutdown()) for worker in at_work]
        _, hanging = await asyncio.wait(stops, timeout=STOPS_WITHIN)
        if hanging:
            log.warning("workers_did_not_stop", how_many=len(hanging))
            for one in hanging:
                one.cancel()
            stack.pop_all()
