"""Redeliveries: a range of events sent to one endpoint again, in order, without gaps."""

from datetime import datetime
from enum import StrEnum

import msgspec


class RedeliveryKind(StrEnum):
    """Which events of the range are sent."""

    FAILED = "failed"  # deliveries that are dead, or pending after a failure
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

    `found` events were looked at and fit, `delivered` of them arrived, `handed_over` failed and go on by themselves on
    the usual schedule. `place` is the last event that is behind it.
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


class Redeliver(msgspec.Struct, frozen=True, kw_only=True):
    """The command of the workflow `redelivery-<id>`."""

    merchant_id: str
    redelivery_id: str
