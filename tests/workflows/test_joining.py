"""A question to a workflow that nobody answers: the asker hears it, and no trace is left for Python to complain of."""

import asyncio
import gc
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from dev.temporal import TemporalServer
from workflows.engine_errors import EngineAway, engine_errors
from workflows.joining import join


async def _ask_in_vain(client: Client) -> None:
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "nobody_runs_it",
        id=uuid4().hex,
        task_queue=uuid4().hex,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    with pytest.raises(EngineAway), engine_errors():
        await join(client, start, "asked", None, update_id=uuid4().hex, wait=0.3)


async def test_a_failure_that_was_heard_is_not_reported_as_lost(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    lost: list[str] = []
    loop = asyncio.get_running_loop()
    gc.collect()  # what other tests left behind in this process is not ours
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, about: lost.append(about["message"]))
    try:
        await _ask_in_vain(client)
        for _ in range(5):  # the client's own thread lets go of the call a moment later
            gc.collect()
            await asyncio.sleep(0.05)
    finally:
        loop.set_exception_handler(before)
    assert lost == []
