"""Redeliveries: a range of events sent to one endpoint again, in order, without gaps."""

from datetime import datetime
from enum import StrEnum

import msgspec

# A delivery that nobody has tried, this many seconds after it was due, counts among the failed ones: its endpoint was
# too slow to have a place for it.
OVERDUE_SECONDS = 60.0


class RedeliveryKind(StrEnum):
    """Which events of the range are sent. What is on its way for the first time, and in time, never is."""

    FAILED = "failed"  # deliveries that are dead, or pending after a failure, or overdue
    MISSING = "missing"  # events the endpoint subscribes to and has no delivery of: it was disabled, or came later
    UNDELIVERED = "undelivered"  # both of the above, in one order
    ALL = "all"  # every event the endpoint subscribes to, delivered ones too


class RedeliveryState(StrEnum):
    """`CANCELED`: the endpoint was disabled or deleted meanwhile, or the merchant asked to stop."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELED = "canceled"


class Redelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A range `since` (inclusive) … `until` (exclusive) of an endpoint's events, by their time.

    Of the `found` events that are behind it, `delivered` arrived and `handed_over` failed and go on by themselves on
    the usual schedule; the others are dead again. `place` is the last event that was looked at.
    """

    id: str
    merchant_id: str
    endpoint_id: str
    is_sandbox: bool
    kind: RedeliveryKind
    since: datetime
    until: datetime
    state: RedeliveryState
    found: int
    delivered: int
    handed_over: int
    place_at: datetime | None
    place_id: str | None
    asked_by: str
    created_at: datetime
    finished_at: datetime | None


class Passed(StrEnum):
    """How a redelivery left an event behind."""

    DELIVERED = "delivered"
    HANDED_OVER = "handed_over"
    DEAD = "dead"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The event whose turn it is; its delivery is pending, or settled by this redelivery before a crash.

    `attempts` were made so far, whoever made them.
    """

    event_at: datetime
    event_id: str
    delivery_id: str
    attempts: int


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What is next: an event, the end (`over`), or seconds to wait; none of them after a stretch where nothing fits."""

    taken: Taken | None = None
    over: bool = False
    wait: float = 0.0


class Redeliver(msgspec.Struct, frozen=True, kw_only=True):
    """The command of the workflow `redelivery-<id>`."""

    merchant_id: str
    redelivery_id: str
