"""How many questions about jobs one process asks Temporal at once."""

import asyncio

from temporalio.client import (
    Client,
    DescribeWorkflowInput,
    Interceptor,
    OutboundInterceptor,
    WorkflowExecutionDescription,
)
from temporalio.service import RPCError, RPCStatusCode

from dev.ports import free_port
from runtime.task_queues import TaskQueues
from workflows.client import Engine
from workflows.job_status import AT_ONCE, JobStatus


class Counter(Interceptor):
    """Stands where the wire begins: every question takes a moment, and nobody knows the workflow."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 -- the library's name
        return _Counted(next, self)


class _Counted(OutboundInterceptor):
    def __init__(self, next_: OutboundInterceptor, counter: Counter) -> None:
        super().__init__(next_)
        self._counter = counter

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:  # noqa: A002 -- the library's name
        self._counter.now += 1
        self._counter.most = max(self._counter.most, self._counter.now)
        await asyncio.sleep(0.02)
        self._counter.now -= 1
        raise RPCError("not found", RPCStatusCode.NOT_FOUND, b"")


async def test_pages_of_many_readers_share_one_cap() -> None:
    counter = Counter()
    client = await Client.connect(f"127.0.0.1:{free_port()}", lazy=True, interceptors=[counter])
    engine = Engine(client, TaskQueues("questions"))
    pages = [[f"delivery-{page}-{number}" for number in range(50)] for page in range(4)]
    answers = await asyncio.gather(*(engine.look_at_jobs(page, wait=30.0) for page in pages))
    assert answers == [dict.fromkeys(page, JobStatus(running=False)) for page in pages]
    assert counter.most == AT_ONCE
