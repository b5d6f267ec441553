"""What was running before a change of the code goes on after it."""

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, WorkflowReplayResult

from runtime.temporal import data_converter
from runtime.workflow_sandbox import workflow_runner
from tests.replay.keyring import RING
from tests.replay.recording import HISTORIES
from tests.replay.variants import StepAdded, StepDropped, StepsReordered, Unchanged
from worker import DELIVERY_WORKFLOWS, WORKFLOWS

pytestmark = pytest.mark.replay

TESTS = Path(__file__).parents[1] / "workflows"
CANCELED = "invoice.the_bank_withdraws_the_bill.1"
RECORD = "run `.venv/bin/python -m tests.replay.record` and commit tests/replay/histories"

EVERY_WORKFLOW = (*WORKFLOWS, *DELIVERY_WORKFLOWS)


def replayer(workflows: Sequence[type]) -> Replayer:
    return Replayer(
        workflows=workflows, data_converter=data_converter(RING), workflow_runner=workflow_runner(sandboxed=True)
    )


async def histories(paths: Sequence[Path]) -> AsyncIterator[WorkflowHistory]:
    for path in paths:
        yield WorkflowHistory.from_json(path.stem, await asyncio.to_thread(path.read_text))


@pytest.mark.timeout(600)  # it grows with each recording
async def test_every_recorded_story_replays() -> None:
    paths = sorted(HISTORIES.glob("*.json"))
    failures: dict[str, str] = {}
    replayed = 0
    async with replayer(EVERY_WORKFLOW).workflow_replay_iterator(histories(paths)) as results:
        async for result in results:
            replayed += 1
            if result.replay_failure:
                failures[result.history.workflow_id] = str(result.replay_failure)
    assert failures == {}
    assert replayed == len(paths) > 0


async def replayed(changed: type) -> WorkflowReplayResult:
    history = await anext(histories([HISTORIES / f"{CANCELED}.json"]))
    return await replayer([changed]).replay_workflow(history, raise_on_replay_failure=False)


async def test_a_story_that_did_not_change_replays() -> None:
    assert (await replayed(Unchanged)).replay_failure is None


@pytest.mark.parametrize("changed", [StepAdded, StepDropped, StepsReordered])
async def test_a_replay_notices_a_changed_story(changed: type) -> None:
    assert isinstance((await replayed(changed)).replay_failure, workflow.NondeterminismError)


def test_every_workflow_has_a_recorded_story() -> None:
    recorded = {path.name.split(".", 1)[0] for path in HISTORIES.glob("*.json")}
    names = {definition.name for kind in EVERY_WORKFLOW if (definition := workflow._Definition.from_class(kind))}
    assert recorded == names, RECORD


def test_every_test_of_a_story_has_its_recording() -> None:
    recorded = [path.name.split(".", 1)[1] for path in HISTORIES.glob("*.json")]
    told = {
        function.name.removeprefix("test_")
        for path in TESTS.glob("test_*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.AsyncFunctionDef)
        and function.name.startswith("test_")
        and {argument.arg for argument in function.args.args} & {"new_bill", "new_refund", "new_subscription", "scene"}
    }
    assert told
    # A subscription's id has nothing but letters and digits of its test's name.
    stories = {name: (name, re.sub("[^A-Za-z0-9]", "", name)[:60]) for name in told}
    assert {name for name in told if not any(one.startswith(stories[name]) for one in recorded)} == set(), RECORD
