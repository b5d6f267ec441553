"""One round of the watchdog: every kind is looked at, and what could not be looked at is not passed over."""

import asyncio

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from activities.guarding import Guarded
from tests.workflows.bill import WAIT
from tests.workflows.stage import QUEUES, Stage

Rounds = dict[str, Guarded]


async def started(stage: Stage, name: str) -> "WorkflowHandle[object, Rounds]":
    return await stage.client.start_workflow(
        "watchdog", id=f"watchdog-{name}", task_queue=QUEUES.workflows, result_type=Rounds
    )


async def test_a_round_counts_what_it_saw_by_kind(stage: Stage, scene_name: str) -> None:
    stage.rounds["invoices"] = Guarded(alive=7, restarted=2, failed=1)
    handle = await started(stage, scene_name)
    async with asyncio.timeout(WAIT):
        seen = await handle.result()
    assert set(seen) == {"invoices", "refunds", "pollers", "deliveries", "redeliveries", "subscriptions", "test_clocks"}
    assert seen["invoices"] == Guarded(alive=7, restarted=2, failed=1)
    assert seen["refunds"] == Guarded()


async def test_a_kind_that_cannot_be_looked_at_stops_no_other_and_fails_the_round(
    stage: Stage, scene_name: str
) -> None:
    stage.rounds["refunds"] = ApplicationError("no database", type="DatabaseUnavailable", non_retryable=True)
    looked = len(stage.looked_at)
    handle = await started(stage, scene_name)
    with pytest.raises(WorkflowFailureError) as caught:
        async with asyncio.timeout(WAIT):
            await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert (caught.value.cause.type, caught.value.cause.message) == ("NotAllGuarded", "not looked at: refunds")
    assert set(stage.looked_at[looked:]) == {
        "invoices",
        "refunds",
        "pollers",
        "deliveries",
        "redeliveries",
        "subscriptions",
        "test_clocks",
    }
