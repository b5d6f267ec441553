"""Business failures of workflows: types that cross the API by their code; what failed activities mean."""

from temporalio.exceptions import ActivityError, ApplicationError

from activities.failures import BANK_NOT_FOUND, BANK_REFUSED
from domain.errors import Code


def refuse(code: Code, **details: str) -> ApplicationError:
    """A failure whose type is the stable code; its message carries nothing but the code."""
    return ApplicationError(code.value, details, type=code.value, non_retryable=True)


def cause_of(error: ActivityError | ApplicationError) -> ApplicationError:
    """What the activity raised. A regular activity's failure comes wrapped, a local one's comes bare."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError):
        return cause
    return ApplicationError("the activity did not end", type="ActivityDidNotEnd", non_retryable=True)


def said_no(error: ActivityError) -> bool:
    """True for the bank's own "no"; any other failure leaves open what it did."""
    return cause_of(error).type in {BANK_REFUSED, BANK_NOT_FOUND}
