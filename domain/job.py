"""Jobs: everything of a merchant's that is not at its end, or ended where somebody has to look."""

from datetime import datetime
from enum import StrEnum

import msgspec


class JobKind(StrEnum):
    """What the job is; its workflow is called `<kind>-<id>`."""

    DELIVERY = "delivery"
    REFUND = "refund"
    INVOICE = "invoice"
    RECONCILIATION = "reconciliation"
    REDELIVERY = "redelivery"
    SUBSCRIPTION = "subscription"


class JobState(StrEnum):
    """`WAITING` had no failure yet, `RETRYING` had; `ATTENTION` waits for an operator, `DEAD` for a replay."""

    WAITING = "waiting"
    RETRYING = "retrying"
    RUNNING = "running"
    ATTENTION = "attention"
    DEAD = "dead"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job as the books know it.

    `id` is the delivery's, refund's, invoice's, reconciliation's, redelivery's or subscription's; `object_id` what it
    is about: the event's object, the refund's invoice, the invoice itself, the bank connection, the endpoint, the
    subscription itself. `attempts` is None where nobody counts them.
    """

    kind: JobKind
    id: str
    state: JobState
    object_id: str
    is_sandbox: bool
    attempts: int | None
    last_error: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def workflow_id(self) -> str:
        """The workflow that does it, or did."""
        return f"{self.kind}-{self.id}"
