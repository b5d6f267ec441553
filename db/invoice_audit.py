"""What the audit log says of an invoice's steps."""

from domain.audit import Actor, ActorKind, AuditEntry, standing
from domain.invoice import Change, Invoice, OpenInvoice, State

OBJECT = "invoice"


def opened(order: OpenInvoice) -> AuditEntry:
    """The bill is in the books and may be sent to the bank; by the key that asked."""
    return AuditEntry(
        merchant_id=order.merchant_id,
        actor=_actor(order.invoice_id, key=order.asked_by),
        action="invoice.created",
        object_type=OBJECT,
        object_id=order.invoice_id,
        is_sandbox=order.is_sandbox,
        after=State.PROCESSING,
        request_id=order.request_id,
    )


def changed(before: Invoice, after: Invoice, change: Change) -> AuditEntry:
    """One booking; the note is the operator's, or the reason's word."""
    return AuditEntry(
        merchant_id=after.merchant_id,
        actor=_actor(after.id, key=change.asked_by, operator=change.operator),
        action=_action(before, after),
        object_type=OBJECT,
        object_id=after.id,
        is_sandbox=after.is_sandbox,
        before=standing(before.state, before.attention),
        after=standing(after.state, after.attention),
        note=change.note or change.reason,
    )


def cancel_asked(merchant_id: str, invoice_id: str, key: str | None) -> AuditEntry:
    """A live bill's merchant wants it withdrawn; what the bank makes of it is a booking."""
    return AuditEntry(
        merchant_id=merchant_id,
        actor=_actor(invoice_id, key=key),
        action="invoice.cancel_asked",
        object_type=OBJECT,
        object_id=invoice_id,
        is_sandbox=False,
    )


def _actor(invoice_id: str, *, key: str | None, operator: str | None = None) -> Actor:
    if operator:
        return Actor(kind=ActorKind.OPERATOR, id=operator)
    if key:
        return Actor(kind=ActorKind.KEY, id=key)
    return Actor(kind=ActorKind.WORKFLOW, id=f"invoice-{invoice_id}")


def _action(before: Invoice, after: Invoice) -> str:
    if before.state is not after.state or before.attention == after.attention:
        return f"invoice.{after.state}"
    return "invoice.attention" if after.attention else "invoice.attention_cleared"
