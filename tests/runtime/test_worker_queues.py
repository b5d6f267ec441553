"""Which queues a worker process serves."""

import pytest
from temporalio import activity
from temporalio.client import Client

from dev.temporal import TemporalServer
from runtime.settings import Worker, load
from worker import Wiring, build_workers


@activity.defn
async def something() -> None:
    """A worker without any activity is refused."""


WIRING = Wiring(local=[something], kaspi=[something], watch=[something], webhooks=[something], deliveries=[something])


@pytest.mark.parametrize(
    ("named", "queues"),
    [
        ("", ["shop", "shop-kaspi", "shop-watch", "shop-webhooks", "shop-deliveries"]),
        ("deliveries", ["shop-deliveries"]),
        ("webhooks,workflows", ["shop", "shop-webhooks"]),
    ],
)
async def test_a_process_serves_the_queues_that_its_settings_name(
    temporal_server: TemporalServer, named: str, queues: list[str]
) -> None:
    environ = {"TOLEM_WORKER_QUEUES": named, "TOLEM_TASK_QUEUE_PREFIX": "shop", "TOLEM_WORKER_SANDBOX": "false"}
    settings = load(Worker, environ=environ)[Worker]
    client = await Client.connect(temporal_server.address)
    assert [worker.task_queue for worker in build_workers(client, WIRING, settings)] == queues
