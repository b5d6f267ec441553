"""Business failures of workflows: types that cross the API by their code."""

from temporalio.exceptions import ApplicationError

from domain.errors import Code


def refuse(code: Code, **details: str) -> ApplicationError:
    """A failure whose type is the stable code; its message carries nothing but the code."""
    return ApplicationError(code.value, details, type=code.value, non_retryable=True)
