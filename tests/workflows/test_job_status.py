"""What Temporal says of the workflows behind jobs, and what is said while it says nothing."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from temporalio.client import Client

from dev.ports import free_port
from dev.temporal import TemporalServer
from workflows.job_status import JobStatus, look_at

WAIT = 30.0


async def test_a_workflow_that_waits_for_a_worker_runs_and_an_unknown_one_does_not(
    temporal_server: TemporalServer,
) -> None:
    client = await Client.connect(temporal_server.address)
    known, unknown = f"delivery-{uuid4().hex}", f"delivery-{uuid4().hex}"
    handle = await client.start_workflow("webhook_delivery", id=known, task_queue=uuid4().hex)
    assert await look_at(client, [known, unknown, known], wait=WAIT) == {
        known: JobStatus(running=True),
        unknown: JobStatus(running=False),
    }
    await handle.terminate()
    assert await look_at(client, [known], wait=WAIT) == {known: JobStatus(running=False)}
    assert await look_at(client, [], wait=WAIT) == {}


async def test_a_workflow_that_has_not_begun_runs_next_when_it_begins(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    name = f"delivery-{uuid4().hex}"
    handle = await client.start_workflow(
        "webhook_delivery", id=name, task_queue=uuid4().hex, start_delay=timedelta(minutes=1)
    )
    begins = (await handle.describe()).execution_time
    assert await look_at(client, [name], wait=WAIT) == {name: JobStatus(running=True, next_attempt_at=begins)}
    await handle.terminate()


async def test_of_a_temporal_that_is_away_nothing_is_known() -> None:
    client = await Client.connect(f"127.0.0.1:{free_port()}", lazy=True)
    assert await look_at(client, ["delivery-1", "delivery-2"], wait=1.0) == {}


async def test_a_temporal_that_never_answers_holds_nobody_up() -> None:
    silence = asyncio.Event()

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = await Client.connect(f"127.0.0.1:{port}", lazy=True)
        assert await look_at(client, [f"delivery-{n}" for n in range(50)], wait=0.5) == {}
        silence.set()
