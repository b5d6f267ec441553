"""How workflow code runs: in Temporal's strict sandbox, or bare for speed."""

import dataclasses
from typing import Final

from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxMatcher, SandboxRestrictions

# Not loaded anew for each workflow. Ours are here because the sandbox shows a proxy in the place of
# `datetime`, which msgspec does not take for the type: a Struct with a datetime that a workflow uses must
# stand in one of these packages. The others are compiled code, which cannot be loaded twice, and bulky data.
PASSTHROUGH: Final = ("domain", "contracts", "activities", "msgspec", "cryptography", "phonenumbers")

# What of the packages above is not a function of its arguments. They are not checked inside, so it is here.
_FORBIDDEN: Final = SandboxMatcher(
    children={"domain": SandboxMatcher(children={"ids": SandboxMatcher(use={"new_id"})})}
)


def workflow_runner(*, sandboxed: bool) -> WorkflowRunner:
    """For `Worker(workflow_runner=…)`. Tests, CI and replays are sandboxed; `TOLEM_WORKER_SANDBOX` decides here."""
    if not sandboxed:
        return UnsandboxedWorkflowRunner()
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSTHROUGH)
    return SandboxedWorkflowRunner(
        restrictions=dataclasses.replace(
            restrictions, invalid_module_members=restrictions.invalid_module_members | _FORBIDDEN
        )
    )
