"""Histories as files: where they are, how they are written."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Final

from temporalio.client import Client, WorkflowExecution

HISTORIES: Final = Path(__file__).with_name("histories")
# Set by record.py for the run of tests that it makes.
FOLDER_VARIABLE: Final = "RECORD_HISTORIES"
# Begins the queues of stories on the stage whose ids are not their tests' names.
UNRECORDED: Final = "unrecorded-"
_PREFIXES = (
    "invoice-inv_",
    "refund-ref_",
    "delivery-whd_",
    "redelivery-rdl_",
    "kaspi-session-con_",
    "webhook-test-a-",
    "watchdog-",
    "reconciliation-rec_",
    "reconcile-all-",
    "subscription-sub_",
)


async def write_histories(client: Client, folder: Path) -> None:
    """One file per run: `<type>.<test>.<number>.json`; the ids of the stage hold the tests' names."""
    await asyncio.sleep(2)  # what ended last is not listed at once
    runs: dict[str, list[WorkflowExecution]] = defaultdict(list)
    async for run in client.list_workflows():
        if not (run.task_queue or "").startswith(UNRECORDED) and not _by_the_way(run):
            runs[run.id].append(run)
    for workflow_id, of_one in runs.items():
        for number, run in enumerate(sorted(of_one, key=lambda run: run.start_time), start=1):
            history = await client.get_workflow_handle(workflow_id, run_id=run.run_id).fetch_history()
            path = folder / f"{run.workflow_type}.{_story(workflow_id)}.{number}.json"
            # Nobody reads ciphertext: compact.
            path.write_text(json.dumps(history.to_json_dict(), separators=(",", ":")) + "\n")


def _by_the_way(run: WorkflowExecution) -> bool:
    """Bills of subscriptions have names of their own making, and add nothing to the invoices' histories."""
    return run.task_queue == "subscription-stage" and run.workflow_type not in {"subscription", "test_clock"}


def _story(workflow_id: str) -> str:
    if workflow_id.startswith("test-clock-"):
        return "a_clock_is_advanced"  # one of many that are all the same
    for prefix in _PREFIXES:
        if workflow_id.startswith(prefix):
            return workflow_id.removeprefix(prefix)
    raise ValueError(f"no test's workflow: {workflow_id}")
