"""What the books ask of a contract: the exact bytes to keep for an answer and for a webhook."""

from datetime import datetime
from typing import Protocol

import msgspec

from domain.event import Dialect, Endpoint, EventType
from domain.invoice import Invoice
from domain.merchant import Connection
from domain.refund import Refund
from domain.subscription_record import Subscription, SubscriptionNews


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to one object; `object` is as it was then."""

    id: str
    merchant_id: str
    type: EventType
    object_id: str
    sequence: int
    cause: str
    is_sandbox: bool
    created_at: datetime
    object: Invoice | Refund | Connection | Endpoint | SubscriptionNews | None
    previous_state: str | None = None


class Renderer(Protocol):
    """Bytes of a contract. The books store them, so that replays and retries are byte-equal."""

    def creation_answer(self, invoice: Invoice, request_id: str) -> tuple[int, bytes]:
        """HTTP status and body that tell how the creation of this invoice ended."""

    def refund_answer(self, refund: Refund, request_id: str) -> tuple[int, bytes]:
        """HTTP status and body that tell that this refund is recorded."""

    def subscription_answer(self, subscription: Subscription, request_id: str) -> bytes:
        """The body that shows this subscription: the answer to its creation (201) and to every action (200)."""

    def tells(self, event: Event, dialect: Dialect) -> bool:
        """Whether endpoints of this dialect are told of the event, where they subscribe to its type."""

    def webhook(self, event: Event, endpoint_id: str, dialect: Dialect) -> bytes:
        """The body of a webhook, in the endpoint's own words."""
