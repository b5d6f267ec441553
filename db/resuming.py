"""The commands that tell a story again from the books, where its workflow is gone."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.invoice import OpenInvoice
from domain.refund import OpenRefund

# Its window to issue is long over, and so is the time of its HTTP answer: what becomes of it is told by an event.
_INVOICE = text(
    "select i.id as invoice_id, i.merchant_id, i.kind, i.is_sandbox, i.amount, i.created_at as issue_before,"
    " i.created_at as answer_by, i.request_id, i.connection_id, i.phone, i.description, i.external_order_id,"
    " case when i.subscription_id is not null then jsonb_build_object('subscription_id', i.subscription_id,"
    "   'number', i.subscription_period, 'charge', i.subscription_charge) end as subscription,"
    " coalesce(k.fingerprint, '') as fingerprint, coalesce(k.operation, 'resumed') as operation"
    " from invoices i left join idempotency_keys k on k.merchant_id = i.merchant_id and k.resource_id = i.id"
    " where i.id = :id"
)
_REFUND = text(
    "select r.id as refund_id, r.merchant_id, r.invoice_id, r.is_sandbox, r.created_at as open_before, r.request_id,"
    " r.amount, r.reason, r.simulate,"
    " coalesce(k.fingerprint, '') as fingerprint, coalesce(k.operation, 'resumed') as operation"
    " from refunds r left join idempotency_keys k on k.merchant_id = r.merchant_id and k.resource_id = r.id"
    " where r.id = :id"
)
# Seconds: what is closed already is watched by the poller, which starts the story anew when money comes.
LATE_WATCH = 60.0


async def invoice_order(connection: AsyncConnection, invoice_id: str) -> OpenInvoice | None:
    """None where no such invoice is to be seen."""
    row = (await connection.execute(_INVOICE, {"id": invoice_id})).mappings().one_or_none()
    if row is None:
        return None
    return msgspec.convert(dict(row) | {"late_watch": LATE_WATCH, "resumed": True}, OpenInvoice)


async def refund_order(connection: AsyncConnection, refund_id: str) -> OpenRefund | None:
    """None where no such refund is to be seen."""
    row = (await connection.execute(_REFUND, {"id": refund_id})).mappings().one_or_none()
    return None if row is None else msgspec.convert(dict(row) | {"resumed": True}, OpenRefund)
