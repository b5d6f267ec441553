"""Is the worker of this container at work? Asks Temporal whether it has polled its queues lately; exit code 0 or 1."""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from runtime import settings as conf
from runtime.leave import leave
from runtime.task_queues import QUEUE_WORDS, TaskQueues
from runtime.temporal import connect

# A poll waits up to a minute for work, and it is counted when it begins.
FRESH = timedelta(seconds=90)
_WORKFLOWS, _ACTIVITIES = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
POLLED_FOR = {
    "workflows": (_WORKFLOWS, _ACTIVITIES),
    "kaspi": (_ACTIVITIES,),
    "watch": (_ACTIVITIES,),
    "webhooks": (_ACTIVITIES,),
    "deliveries": (_WORKFLOWS, _ACTIVITIES),
}


async def idle_queues(client: Client, queues: TaskQueues, host: str, served: Sequence[str] = QUEUE_WORDS) -> list[str]:
    """Of the queues in `served` those that no worker on `host` has polled within `FRESH`."""
    wanted = [(queues.called(word), kind) for word in served for kind in POLLED_FOR[word]]
    idle = [name for name, kind in wanted if not await _polled(client, name, kind, host)]
    return list(dict.fromkeys(idle))


async def _polled(client: Client, name: str, kind: TaskQueueType.ValueType, host: str) -> bool:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=name), task_queue_type=kind
    )
    described = await client.workflow_service.describe_task_queue(request, timeout=timedelta(seconds=5))
    oldest = datetime.now(UTC) - FRESH
    # The SDK's name for a worker is process@host; a container's host name is its id.
    return any(
        poller.identity.rpartition("@")[2] == host and poller.last_access_time.ToDatetime(UTC) >= oldest
        for poller in described.pollers
    )


async def check() -> str | None:
    """What is wrong, None when all is well."""
    settings = conf.load(conf.Temporal, conf.Keys, conf.Worker)
    client = await connect(settings[conf.Temporal], settings[conf.Keys].payload, identity=f"health {os.getpid()}")
    worker = settings[conf.Worker]
    idle = await idle_queues(client, TaskQueues(worker.task_queue_prefix), socket.gethostname(), worker.queues)
    return f"not polled by this container: {', '.join(idle)}" if idle else None


def main() -> None:
    """Entry point of the container's health check."""
    try:
        problem = asyncio.run(check())
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        sys.stderr.write(problem + "\n")
    leave(1 if problem else 0)


if __name__ == "__main__":
    main()
