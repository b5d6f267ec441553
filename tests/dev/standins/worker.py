"""Stands in for worker.py in tests of the dev stack: asks its first queue for work and drains on SIGTERM."""

import asyncio
import os
import signal

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from runtime.task_queues import QUEUES


@workflow.defn(sandboxed=False)
class Nothing:
    @workflow.run
    async def run(self) -> None:
        return


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await Client.connect(os.environ["TOLEM_TEMPORAL_ADDRESS"])
    first = os.environ["TOLEM_WORKER_QUEUES"].split(",")[0]
    async with Worker(client, task_queue=QUEUES.called(first), workflows=[Nothing]):
        print("worker stand-in works")
        await stop.wait()


asyncio.run(main())
os._exit(0)
