"""Temporal's failures in our words: what a caller of the engine may catch."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.client import (
    WorkflowFailureError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.failures import WINDOW_MISSED
from domain.errors import Code, TolemError

GONE = {RPCStatusCode.NOT_FOUND}
_TRANSIENT = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
    # "Workflow Task in failed state": a worker died in the middle of this workflow's task, and the next try is due.
    RPCStatusCode.FAILED_PRECONDITION,
}


class NotIssued(Exception):
    """The engine says that nothing was issued in the window it was given; ask again or give up."""


class EngineAway(Exception):
    """Temporal or every worker is unreachable, or too slow for the time given. What happened is not known."""


def _business(error: WorkflowUpdateFailedError) -> Exception:
    """A workflow's typed refusal as our error; whatever else it is, is an engine failure."""
    cause = error.cause
    if isinstance(cause, WorkflowFailureError):
        cause = cause.cause
    type_ = cause.type if isinstance(cause, ApplicationError) else None
    if type_ in {WINDOW_MISSED, "AcceptedUpdateCompletedWorkflow"}:
        return NotIssued(type_)
    if isinstance(cause, ApplicationError) and type_ in set(Code):
        details = cause.details[0] if cause.details and isinstance(cause.details[0], dict) else {}
        return TolemError(Code(type_), details={str(k): str(v) for k, v in details.items()})
    return EngineAway(type_ or type(cause).__name__)


@contextmanager
def engine_errors(*, gone: Code | None = None) -> Iterator[None]:
    """Temporal's failures in our words; `gone` is the code for a workflow that does not run."""
    try:
        yield
    except WorkflowUpdateFailedError as error:
        raise _business(error) from error
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise EngineAway("no answer in time") from error
    except RPCError as error:
        if gone is not None and error.status in GONE:
            raise TolemError(gone) from error
        if error.status in _TRANSIENT:
            raise EngineAway(error.status.name) from error
        raise
    except RuntimeError as error:  # how a lazy client says that its first connection failed
        raise EngineAway("not connected") from error
