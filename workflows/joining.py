"""Update-with-start: one call that starts a workflow, or joins the one that runs, and waits for its answer."""

import asyncio
from contextlib import suppress
from typing import Any

from temporalio.client import Client, WithStartWorkflowOperation


async def join(
    client: Client,
    start: WithStartWorkflowOperation[Any, Any],
    update: str,
    argument: object,
    *,
    update_id: str,
    wait: float,
    result_type: type | None = None,
) -> Any:  # noqa: ANN401 -- what the update gives
    """The update's result; `TimeoutError` after `wait` seconds, else Temporal's own errors.

    Calls with the same `update_id` share one update, and its answer.
    """
    try:
        async with asyncio.timeout(wait):
            return await client.execute_update_with_start_workflow(
                update, argument, id=update_id, result_type=result_type, start_workflow_operation=start
            )
    except BaseException:
        await _read_failure(start)
        raise


async def _read_failure(start: WithStartWorkflowOperation[Any, Any]) -> None:
    """The SDK leaves a failure in the operation as well; one that nobody reads is logged as lost when it is collected."""
    with suppress(Exception, asyncio.CancelledError):
        async with asyncio.timeout(0):  # it is there, or it never comes
            await start.workflow_handle()
