"""Recording a refund: the bounds checked and the money reserved in one transaction, before anybody asks the bank."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db import audit
from db.errors import IssueWindowMissed, RefundRefused
from db.key_hash import key_hash
from db.rows import INVOICE_COLUMNS, REFUND_COLUMNS, to_invoice, to_refund
from domain.audit import Actor, ActorKind, AuditEntry
from domain.bank import Scheme
from domain.cart import ItemRefused, LineStanding, RefundItem, refund_of
from domain.errors import Code
from domain.invoice import Invoice
from domain.refund import OpenRefund, Refund, RefundState, available_for_refund, refund_refusal
from domain.rendering import Renderer

_CLOCK = text("select clock_timestamp()")
_INVOICE = text(f"select {INVOICE_COLUMNS} from invoices where merchant_id = :merchant and id = :id for update")
_SCHEME = text("select scheme from connections where merchant_id = :merchant and id = :id")
# The time is taken under the invoice's lock: refunds are listed in the order in which they will be made.
_OPEN = text(
    f"""
    with numbered as (
        update merchants set last_refund_number = last_refund_number + 1 where id = :merchant
        returning last_refund_number, clock_timestamp() as opened_at
    )
    insert into refunds (id, merchant_id, number, invoice_id, position, is_sandbox, amount, item_count, state, reason,
        connection_id, bank_payment_id, simulate, request_id, created_at, updated_at)
    select :id, :merchant, last_refund_number, :invoice, 1 + (select coalesce(max(position), 0) from refunds
        where invoice_id = :invoice), :sandbox, :amount, :item_count, 'pending', :reason, :connection, :payment,
        :simulate, :request_id, opened_at, opened_at
    from numbered returning {REFUND_COLUMNS}
    """
)
# What has gone back of each line or is on its way; the invoice's lock keeps it so.
_LINES = text(
    """
    select i.position, i.count_milli, i.amount, coalesce(b.refunded, 0) as refunded,
        coalesce(b.refunded_milli, 0) as refunded_milli
    from invoice_items i left join lateral (
        select cast(sum(b.amount) as bigint) as refunded, cast(sum(b.count_milli) as bigint) as refunded_milli
        from refund_items b join refunds r on r.id = b.refund_id
        where b.invoice_id = i.invoice_id and b.position = i.position and r.state <> 'failed'
    ) b on true
    where i.merchant_id = :merchant and i.invoice_id = :invoice
    """
)
_ITEMS = text(
    """
    insert into refund_items (refund_id, position, merchant_id, invoice_id, count_milli, amount)
    select :id, position, :merchant, :invoice, count_milli, amount
    from jsonb_to_recordset(cast(:items as jsonb)) as l (position int, count_milli bigint, amount bigint)
    """
)
_RESERVE = text(
    "update invoices set refund_pending = refund_pending + :amount, updated_at = :now"
    " where merchant_id = :merchant and id = :id"
)
_KEYED = text(
    "insert into idempotency_keys"
    " (merchant_id, mode, operation, key_hash, fingerprint, resource_id, answer_status, answer_body)"
    " values (:merchant, :mode, :operation, :key_hash, :fingerprint, :id, :status, :body)"
    " on conflict on constraint pk_idempotency_keys do update"
    "   set fingerprint = excluded.fingerprint, resource_id = excluded.resource_id, created_at = now(),"
    "     answer_status = excluded.answer_status, answer_body = excluded.answer_body"
    "   where idempotency_keys.created_at < now() - interval '30 days'"
)


async def record(connection: AsyncConnection, renderer: Renderer, order: OpenRefund) -> Refund:
    """The new refund, its money reserved on the invoice, the answer kept for its key. The caller holds the lock on
    the refund's id. Raises `RefundRefused`, or `IssueWindowMissed` when it was asked for too late.
    """
    now = (await connection.execute(_CLOCK)).scalar_one()
    if now >= order.open_before or order.resumed:
        raise IssueWindowMissed("open_before has passed")
    found = await connection.execute(_INVOICE, {"merchant": order.merchant_id, "id": order.invoice_id})
    row = found.mappings().one_or_none()
    if row is None:
        raise RefundRefused(Code.NOT_FOUND)
    invoice = to_invoice(row)
    items = await _items(connection, order)
    amount = await _allowed(connection, invoice, sum(item.amount for item in items) if items else order.amount)
    values = {
        "id": order.refund_id,
        "merchant": order.merchant_id,
        "invoice": invoice.id,
        "sandbox": invoice.is_sandbox,
        "amount": amount,
        "item_count": len(items),
        "reason": order.reason,
        "connection": invoice.connection_id,
        "payment": invoice.bank_payment_id,
        "simulate": order.simulate,
        "request_id": order.request_id,
    }
    refund = to_refund((await connection.execute(_OPEN, values)).mappings().one())
    if items:
        refund = msgspec.structs.replace(refund, items=items)
        lines = {"id": refund.id, "merchant": order.merchant_id, "invoice": invoice.id}
        await connection.execute(_ITEMS, lines | {"items": msgspec.json.encode(items).decode()})
    reserved = {"merchant": order.merchant_id, "id": invoice.id, "amount": amount, "now": refund.created_at}
    await connection.execute(_RESERVE, reserved)
    await _keep_answer(connection, renderer, order, refund)
    await audit.append(connection, _entry(order, refund))
    return refund


async def _items(connection: AsyncConnection, order: OpenRefund) -> list[RefundItem]:
    """What goes back of which line; none where it was not asked for by line."""
    if not order.items:
        return []
    values = {"merchant": order.merchant_id, "invoice": order.invoice_id}
    rows = (await connection.execute(_LINES, values)).mappings()
    lines = {line.position: line for line in (msgspec.convert(dict(row), LineStanding) for row in rows)}
    if any(asked.position not in lines for asked in order.items):
        raise RefundRefused(Code.NOT_FOUND)
    try:
        items = [refund_of(lines[asked.position], asked) for asked in order.items]
    except ItemRefused as refused:
        raise RefundRefused(Code.REFUND_ITEM_EXCEEDS_AVAILABLE, refused.left, refused.position) from refused
    return sorted(items, key=lambda item: item.position)


async def _allowed(connection: AsyncConnection, invoice: Invoice, asked: int | None) -> int:
    """Tiyn to refund; the database's own constraints stand behind these checks."""
    refusal = refund_refusal(invoice, asked)
    if refusal is not None:
        raise RefundRefused(*refusal)
    if not invoice.is_sandbox:
        values = {"merchant": invoice.merchant_id, "id": invoice.connection_id}
        scheme = (await connection.execute(_SCHEME, values)).scalar_one_or_none()
        if scheme != Scheme.R3:
            raise RefundRefused(Code.REFUND_UNSUPPORTED)
    return available_for_refund(invoice) if asked is None else asked


async def _keep_answer(connection: AsyncConnection, renderer: Renderer, order: OpenRefund, refund: Refund) -> None:
    if order.idempotency_key is None:
        return
    status, body = renderer.refund_answer(refund, order.request_id)
    await connection.execute(
        _KEYED,
        {
            "merchant": order.merchant_id,
            "mode": "test" if refund.is_sandbox else "live",
            "operation": order.operation,
            "key_hash": key_hash(order.idempotency_key),
            "fingerprint": order.fingerprint,
            "id": refund.id,
            "status": status,
            "body": body,
        },
    )


def _entry(order: OpenRefund, refund: Refund) -> AuditEntry:
    return AuditEntry(
        merchant_id=refund.merchant_id,
        actor=Actor(kind=ActorKind.KEY, id=order.asked_by),
        action="refund.created",
        object_type="refund",
        object_id=refund.id,
        is_sandbox=refund.is_sandbox,
        after=RefundState.PENDING,
        request_id=order.request_id,
        note=f"{refund.amount} tiyn of {refund.invoice_id}",
    )
