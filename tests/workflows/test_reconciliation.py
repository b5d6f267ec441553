"""The walks of a reconciliation, and the night that starts them all."""

import asyncio
from datetime import timedelta

from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError

from activities.reconciling import Planned, Reconcile, Walked
from tests.support.waiting import until
from tests.workflows.bill import WAIT
from tests.workflows.stage import QUEUES, Stage


def order(scene_name: str, part: str = "") -> Reconcile:
    return Reconcile(merchant_id="mer_1", reconciliation_id=f"rec_{scene_name}{part}")


async def started(stage: Stage, run: Reconcile) -> WorkflowHandle[object, None]:
    await stage.engine.reconcile(run)
    return stage.client.get_workflow_handle(f"reconciliation-{run.reconciliation_id}", result_type=type(None))


async def night(stage: Stage, scene_name: str) -> int:
    async with asyncio.timeout(WAIT):
        handle = await stage.client.start_workflow(
            "reconcile_all", "", id=f"reconcile-all-{scene_name}", task_queue=QUEUES.workflows, result_type=int
        )
        runs: int = await handle.result()
    return runs


async def test_it_walks_until_it_is_over(stage: Stage, scene_name: str) -> None:
    run = order(scene_name)
    stage.walks[run.reconciliation_id] = [Walked(), Walked(), Walked(over=True)]
    async with asyncio.timeout(WAIT):
        await (await started(stage, run)).result()
    assert stage.walked.count(run.reconciliation_id) == 3


async def test_a_walk_whose_worker_died_is_walked_again(stage: Stage, scene_name: str) -> None:
    run = order(scene_name)
    stage.walks[run.reconciliation_id] = [ApplicationError("gone", type="DatabaseUnavailable"), Walked(over=True)]
    async with asyncio.timeout(WAIT):
        await (await started(stage, run)).result()
    assert stage.walked.count(run.reconciliation_id) == 2


async def test_a_bank_that_is_away_is_waited_for(stage: Stage, scene_name: str) -> None:
    run = order(scene_name)
    stage.walks[run.reconciliation_id] = [Walked(wait=3600.0), Walked(over=True)]
    handle = await started(stage, run)

    async def walked() -> bool:
        return run.reconciliation_id in stage.walked

    await until(walked, "the first walk")
    await stage.skip(handle, timedelta(seconds=3601))
    async with asyncio.timeout(WAIT):
        await handle.result()
    assert stage.walked.count(run.reconciliation_id) == 2


async def test_a_night_runs_every_connection_and_a_lost_one_stops_no_other(stage: Stage, scene_name: str) -> None:
    runs = [order(scene_name, part) for part in ("-1", "-2", "-3")]
    lost = ApplicationError("a defect", type="Defect", non_retryable=True)
    ends: list[Walked | ApplicationError] = [Walked(over=True), lost, Walked(over=True)]
    for run, end in zip(runs, ends, strict=True):
        stage.walks[run.reconciliation_id] = [end]
    cause = f"reconcile-all-{scene_name}"
    stage.plans[f"{cause}/"] = Planned(runs=runs[:2], last="con_2")
    stage.plans[f"{cause}/con_2"] = Planned(runs=runs[2:], last=None)
    assert await night(stage, scene_name) == 1  # of the last stretch
    assert [stage.walked.count(run.reconciliation_id) for run in runs] == [1, 1, 1]


async def test_a_reconciliation_that_runs_already_is_not_run_twice(stage: Stage, scene_name: str) -> None:
    run = order(scene_name)
    stage.walks[run.reconciliation_id] = [Walked(wait=3600.0), Walked(over=True)]
    handle = await started(stage, run)
    stage.plans[f"reconcile-all-{scene_name}/"] = Planned(runs=[run], last=None)
    assert await night(stage, scene_name) == 1
    assert stage.walked.count(run.reconciliation_id) <= 1
    await stage.skip(handle, timedelta(seconds=3601))
    async with asyncio.timeout(WAIT):
        await handle.result()
    assert stage.walked.count(run.reconciliation_id) == 2
