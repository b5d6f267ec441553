"""Reconciliations: one that walks through one connection's payments, one that starts them all at night."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ChildWorkflowError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.reconciling import PlanReconciliations, Reconcile, Reconciling
    from runtime.task_queues import TaskQueues
    from workflows.options import LEDGER_STEP, RECONCILE_WALK

# How many connections are compared at the same time at night: each holds a slot among the bank's calls.
AT_ONCE = 20
WALKS_PER_HISTORY = 200


@workflow.defn(name="reconciliation")
class ReconciliationWorkflow:
    """The place of the walk stands in the books, so the workflow has no state: it may be started anew at any time."""

    @workflow.run
    async def run(self, order: Reconcile) -> None:
        """Ends when the run is completed or failed; `tolem reconcile show` has the result."""
        for _ in range(WALKS_PER_HISTORY):
            walked = await workflow.execute_activity_method(
                Reconciling.walk,
                order,
                task_queue=TaskQueues(workflow.info().task_queue).kaspi,
                summary="compare payments",
                **RECONCILE_WALK,
            )
            if walked.over:
                workflow.set_current_details(f"Over; `tolem reconcile show {order.reconciliation_id}` has the result.")
                return
            if walked.wait:
                workflow.set_current_details("The bank does not answer; the same payments are asked for again.")
                await workflow.sleep(timedelta(seconds=walked.wait), summary="the bank is away")
        workflow.continue_as_new(order)


@workflow.defn(name="reconcile_all")
class ReconcileAllWorkflow:
    """Run by the nightly schedule; a connection that fails stops no other."""

    @workflow.run
    async def run(self, after: str = "") -> int:
        """How many reconciliations were run, this history's only."""
        plan = PlanReconciliations(cause=workflow.info().workflow_id, after=after)
        planned = await workflow.execute_activity_method(
            Reconciling.plan,
            plan,
            task_queue=TaskQueues(workflow.info().task_queue).kaspi,
            summary="which connections?",
            **LEDGER_STEP,
        )
        slots = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._one(order, slots) for order in planned.runs))
        if planned.last is not None:
            workflow.continue_as_new(planned.last)
        return len(planned.runs)

    async def _one(self, order: Reconcile, slots: asyncio.Semaphore) -> None:
        async with slots:
            try:
                await workflow.execute_child_workflow(
                    "reconciliation",
                    order,
                    id=f"reconciliation-{order.reconciliation_id}",
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    parent_close_policy=ParentClosePolicy.ABANDON,
                    static_summary=f"nightly reconciliation {order.reconciliation_id}",
                )
            except WorkflowAlreadyStartedError:
                workflow.logger.info("this reconciliation is already running")
            except ChildWorkflowError:
                workflow.logger.error("a reconciliation did not come to an end")
