"""The strict sandbox bites: what would not replay does not run."""

import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import RestrictedWorkflowAccessError

from dev.temporal import TemporalServer
from runtime.workflow_sandbox import workflow_runner

QUEUE = "architecture-sandbox"
HARMLESS = "harmless"
IMPURE: dict[str, Callable[[], object]] = {
    "clock": lambda: datetime.now(UTC),
    "seconds": lambda: time.time(),  # noqa: PLW0108 — looked up when it is called, as a workflow would
    "random": lambda: random.random(),  # noqa: PLW0108
    "uuid": lambda: uuid.uuid4(),  # noqa: PLW0108
    "file": lambda: Path("/etc/hostname").read_text(encoding="utf-8"),
    "sleep": lambda: time.sleep(0),
    HARMLESS: lambda: workflow.now(),  # noqa: PLW0108
}


@workflow.defn(name="tempted")
class Tempted:
    """Does one thing and says what the sandbox said to it."""

    @workflow.run
    async def run(self, deed: str) -> str:
        try:
            IMPURE[deed]()
        except RestrictedWorkflowAccessError:
            raise ApplicationError("caught", type="caught", non_retryable=True) from None
        return "undisturbed"


@pytest.fixture(scope="module")
async def client(temporal_server: TemporalServer) -> AsyncIterator[Client]:
    client = await Client.connect(temporal_server.address)
    async with Worker(client, task_queue=QUEUE, workflows=[Tempted], workflow_runner=workflow_runner(sandboxed=True)):
        yield client


@pytest.mark.parametrize("deed", [deed for deed in IMPURE if deed != HARMLESS])
async def test_a_workflow_that_would_not_replay_is_stopped(client: Client, deed: str) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await client.execute_workflow("tempted", deed, id=f"tempted-{uuid.uuid4()}", task_queue=QUEUE)
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "caught"


async def test_a_workflow_that_asks_temporal_for_the_time_is_not(client: Client) -> None:
    done = await client.execute_workflow(
        "tempted", HARMLESS, id=f"tempted-{uuid.uuid4()}", task_queue=QUEUE, result_type=str
    )
    assert done == "undisturbed"
