"""Gateway errors to Temporal failures: a type that workflows can match, and no personal data."""

from temporalio.exceptions import ApplicationError

WINDOW_MISSED = "IssueWindowMissed"
BANK_REFUSED = "KaspiRefused"
BANK_NOT_FOUND = "KaspiNotFound"
BANK_MISCONFIGURED = "KaspiMisconfigured"
BANK_UNAVAILABLE = "KaspiUnavailable"
BANK_UNKNOWN = "KaspiOutcomeUnknown"


def failure(error: Exception, type_: str, *, retryable: bool, code: int | None = None) -> ApplicationError:
    """An `ApplicationError` whose message is the error's own (rooms promise that theirs carry no data)."""
    details = () if code is None else (code,)
    return ApplicationError(str(error), *details, type=type_, non_retryable=not retryable)
