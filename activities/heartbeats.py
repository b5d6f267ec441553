"""Heartbeats beside an activity's work, so that a worker that died is noticed in seconds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from temporalio import activity

HEARTBEAT_SECONDS = 2.0


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Beats until the work inside is done; nothing outside of an activity."""
    if not activity.in_activity():
        yield
        return

    async def beat() -> None:
        while True:
            # Not at once: most activities end before, and a heartbeat that reaches the server is a billed action.
            await asyncio.sleep(HEARTBEAT_SECONDS)
            activity.heartbeat()

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
