"""The stretches of a redelivery, run until the books say that it is over."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.redelivering import Redelivered
from domain.redelivery import Redeliver
from runtime.task_queues import TaskQueues
from runtime.workflow_sandbox import workflow_runner
from tests.support.waiting import until
from tests.workflows.bill import WAIT
from tests.workflows.stage import Stage
from workflows.client import Engine
from workflows.redelivery import RedeliveryWorkflow

QUEUES = TaskQueues("stage-redelivery")


class Books:
    """How the stretches of each redelivery end, one after another; the last one stays."""

    def __init__(self) -> None:
        self.ends: dict[str, list[Redelivered | ApplicationError]] = {}
        self.stretches: list[str] = []

    @activity.defn(name="webhook.redeliver")
    async def redeliver(self, order: Redeliver) -> Redelivered:
        self.stretches.append(order.redelivery_id)
        ends = self.ends[order.redelivery_id]
        said = ends.pop(0) if len(ends) > 1 else ends[0]
        if isinstance(said, ApplicationError):
            raise said
        return said


@pytest.fixture
async def played(stage: Stage) -> AsyncIterator[Books]:
    made = Books()
    async with Worker(
        stage.client,
        task_queue=QUEUES.deliveries,
        workflows=[RedeliveryWorkflow],
        activities=[made.redeliver],
        workflow_runner=workflow_runner(sandboxed=True),
    ):
        yield made


def order(scene_name: str) -> Redeliver:
    return Redeliver(merchant_id=f"mer_{scene_name}", redelivery_id=f"rdl_{scene_name}")


async def ended(stage: Stage, run: Redeliver) -> None:
    async with asyncio.timeout(WAIT):
        await stage.client.get_workflow_handle(f"redelivery-{run.redelivery_id}").result()


async def test_it_goes_on_stretch_by_stretch_and_after_a_failure_of_ours(stage: Stage, played: Books) -> None:
    run = order("stretches")
    away = ApplicationError("gone", type="DatabaseUnavailable")
    played.ends[run.redelivery_id] = [Redelivered(), away, Redelivered(), Redelivered(over=True)]
    await Engine(stage.client, QUEUES).redeliver(run)
    await ended(stage, run)
    assert played.stretches.count(run.redelivery_id) == 4


async def test_a_redelivery_of_any_length_goes_on_in_a_new_history(stage: Stage, played: Books) -> None:
    run = order("length")
    played.ends[run.redelivery_id] = [*[Redelivered()] * 210, Redelivered(over=True)]
    engine = Engine(stage.client, QUEUES)
    await engine.redeliver(run)
    first = await stage.client.get_workflow_handle(f"redelivery-{run.redelivery_id}").describe()
    await ended(stage, run)
    last = await stage.client.get_workflow_handle(f"redelivery-{run.redelivery_id}").describe()
    assert played.stretches.count(run.redelivery_id) == 211
    assert first.run_id != last.run_id


async def test_one_that_runs_is_not_started_twice_and_one_that_is_over_ends_at_once(
    stage: Stage, played: Books
) -> None:
    run, engine = order("once"), Engine(stage.client, QUEUES)
    played.ends[run.redelivery_id] = [Redelivered()]
    await engine.redeliver(run)
    first = await stage.client.get_workflow_handle(f"redelivery-{run.redelivery_id}").describe()
    await engine.redeliver(run)
    played.ends[run.redelivery_id] = [Redelivered(over=True)]
    await ended(stage, run)
    same = await stage.client.get_workflow_handle(f"redelivery-{run.redelivery_id}").describe()
    assert same.raw_description.workflow_execution_info.first_run_id == (
        first.raw_description.workflow_execution_info.first_run_id
    )
    stretches = played.stretches.count(run.redelivery_id)
    await engine.redeliver(run)

    async def looked_again() -> bool:
        return played.stretches.count(run.redelivery_id) == stretches + 1

    await until(looked_again, "the next look into the books")
    await ended(stage, run)
