"""A story that "Request Cancellation" in the Temporal UI does not stop: its money goes on at the bank without it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from temporalio import workflow

T = TypeVar("T")


async def steadfast(story: Coroutine[Any, Any, T], *, instead: str) -> T:
    """Runs the story to its end; `instead` tells the log what an operator should do.

    The story is a task of its own, because a cancellation cancels the workflow's main task and every activity that
    it waits for.
    """
    telling = asyncio.create_task(story)
    while not telling.done():
        try:
            await workflow.wait_condition(telling.done)
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None:
                raise  # not asked by anybody: this copy of the workflow is being put away
            workflow.logger.warning("cancellation ignored: %s", instead)
    return telling.result()
