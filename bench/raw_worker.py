"""`python -m bench.raw_worker`: the worker of the yardstick, run as the product's worker runs in production."""

import asyncio
import signal
import sys

import uvloop
from temporalio.worker import Worker

from bench.raw_workflow import QUEUE, RawWorkflow, nothing
from runtime import settings as conf
from runtime.leave import leave
from runtime.temporal import connect
from runtime.workflow_sandbox import workflow_runner

READY = "raw worker ready"
# worker.py's: the same room for both.
_WORKFLOW_TASKS = 200
_LOCAL_ACTIVITIES = 500


async def run() -> None:
    """Works until SIGTERM."""
    settings = conf.load(conf.Temporal, conf.Keys, conf.Worker)
    # The product's converter and codec, so that encryption is on both sides of the comparison.
    client = await connect(settings[conf.Temporal], settings[conf.Keys].payload)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[RawWorkflow],
        activities=[nothing],
        workflow_runner=workflow_runner(sandboxed=settings[conf.Worker].sandbox),
        max_cached_workflows=settings[conf.Worker].max_cached_workflows,
        max_concurrent_workflow_tasks=_WORKFLOW_TASKS,
        max_concurrent_local_activities=_LOCAL_ACTIVITIES,
    ):
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        await stopping.wait()


if __name__ == "__main__":
    uvloop.run(run())
    leave(0)
