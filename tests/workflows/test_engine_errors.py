"""What Temporal's failures mean to whoever asked: the engine is away, which is never an answer."""

import pytest
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import Code, TolemError
from workflows.engine_errors import EngineAway, engine_errors


@pytest.mark.parametrize(
    "status",
    [
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        # "Workflow Task in failed state": a worker died in the middle (seen by `make torture`).
        RPCStatusCode.FAILED_PRECONDITION,
    ],
)
def test_a_server_that_cannot_now_is_away(status: RPCStatusCode) -> None:
    with pytest.raises(EngineAway), engine_errors():
        raise RPCError("not now", status, b"")


def test_a_workflow_that_does_not_run_has_its_own_code() -> None:
    with pytest.raises(TolemError) as caught, engine_errors(gone=Code.INVOICE_CLOSED):
        raise RPCError("no such workflow", RPCStatusCode.NOT_FOUND, b"")
    assert caught.value.code is Code.INVOICE_CLOSED


def test_what_is_a_defect_of_ours_is_not_hidden() -> None:
    with pytest.raises(RPCError), engine_errors():
        raise RPCError("wrong argument", RPCStatusCode.INVALID_ARGUMENT, b"")
