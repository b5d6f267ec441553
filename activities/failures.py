"""Gateway errors to Temporal failures: a type that workflows can match, and no personal data."""

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

WINDOW_MISSED = "IssueWindowMissed"
REFUND_REFUSED = "RefundRefused"
SUBSCRIPTION_REFUSED = "SubscriptionRefused"
BANK_REFUSED = "KaspiRefused"
BANK_NOT_FOUND = "KaspiNotFound"
BANK_MISCONFIGURED = "KaspiMisconfigured"
BANK_UNAVAILABLE = "KaspiUnavailable"
BANK_UNKNOWN = "KaspiOutcomeUnknown"
NOT_DELIVERED = "NotDelivered"
CLOCK_WAITS = "TestClockWaits"


def failure(
    error: Exception, type_: str, *, retryable: bool, code: int | None = None, details: tuple[object, ...] = ()
) -> ApplicationError:
    """An `ApplicationError` whose message is the error's own (rooms promise that theirs carry no data)."""
    details = details if code is None else (code, *details)
    expected = type_ in {
        WINDOW_MISSED,
        REFUND_REFUSED,
        SUBSCRIPTION_REFUSED,
    }  # told to the caller: no stack trace in the worker's log
    category = ApplicationErrorCategory.BENIGN if expected else ApplicationErrorCategory.UNSPECIFIED
    return ApplicationError(str(error), *details, type=type_, non_retryable=not retryable, category=category)
