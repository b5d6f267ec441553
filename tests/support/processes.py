"""Whether processes that are not our children still run."""

import asyncio

import psutil

from tests.support.waiting import PATIENCE


def runs(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie whose new parent has not collected it yet counts as gone."""
    try:
        # Raises NoSuchProcess where the number is free or has a new owner, whenever between the two reads it ends.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until_gone(*processes: psutil.Process) -> None:
    """Waits until none of them runs any more: no event tells of processes that are not our children."""
    async with asyncio.timeout(PATIENCE):
        while any(map(runs, processes)):  # noqa: ASYNC110 — not our children: no event
            await asyncio.sleep(0.02)
