"""The ApiPay v1.0 contract: the bodies of its webhooks (ApiPay's public documentation, "Webhooks")."""

from typing import Any

import msgspec

from contracts.times import show, show_optional
from domain.event import EventType
from domain.invoice import Invoice, State
from domain.money import format_amount
from domain.rendering import Event

# Their words for a bill's state; the two open states are one to them.
STATUS: dict[State, str] = {
    State.PROCESSING: "pending",
    State.PENDING: "pending",
    State.PAID: "paid",
    State.CANCELED: "cancelled",
    State.FAILED: "cancelled",
    State.EXPIRED: "expired",
    State.PARTIALLY_REFUNDED: "partially_refunded",
    State.REFUNDED: "refunded",
}


class ApiPay:
    """Renders the contract."""

    def webhook(self, event: Event) -> bytes:
        """The bytes that are stored, signed and sent."""
        body: dict[str, Any] = {"event": event.type, **self._object(event)}
        return msgspec.json.encode(body | {"source": "api", "timestamp": show(event.created_at)})

    def _object(self, event: Event) -> dict[str, Any]:
        if isinstance(event.object, Invoice):
            return {"invoice": self._invoice(event.type, event.object)}
        return {"data": {"object_id": event.object_id}}

    def _invoice(self, type_: EventType, invoice: Invoice) -> dict[str, Any]:
        shown = {
            "id": invoice.number,
            "external_order_id": invoice.external_order_id,
            "amount": format_amount(invoice.amount),
            "status": STATUS[invoice.state],
            "description": invoice.description or "",
            "paid_at": show_optional(invoice.paid_at),
        }
        if type_ is EventType.INVOICE_REFUNDED:
            shown["total_refunded"] = format_amount(invoice.refunded)
        return shown
