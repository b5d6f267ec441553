"""The commands that tell a story again from the books, where its workflow is gone."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.invoice import Kind, OpenInvoice
from domain.refund import OpenRefund
from domain.scenarios import scenario_of

# Its window to issue is long over, and so is the time of its HTTP answer: what becomes of it is told by an event.
_INVOICE = text(
    "select i.id as invoice_id, i.merchant_id, i.kind, i.is_sandbox, i.amount, i.created_at as issue_before,"
    " i.created_at as answer_by, i.request_id, i.connection_id, i.phone, i.description, i.external_order_id,"
    " case when i.subscription_id is not null then jsonb_build_object('subscription_id', i.subscription_id,"
    "   'number', i.subscription_period, 'charge', i.subscription_charge) end as subscription,"
    " exists (select 1 from subscriptions s where s.id = i.subscription_id and s.test_clock_id is not null)"
    "   as on_test_clock,"
    " coalesce(k.fingerprint, '') as fingerprint, coalesce(k.operation, 'resumed') as operation"
    " from invoices i left join idempotency_keys k on k.merchant_id = i.merchant_id and k.resource_id = i.id"
    " where i.id = :id"
)
_REFUND = text(
    "select r.id as refund_id, r.merchant_id, r.invoice_id, r.is_sandbox, r.created_at as open_before, r.request_id,"
    " r.amount, r.reason, r.simulate, i.kind, i.phone, i.amount as billed, i.subscription_id is not null as subscribed,"
    " coalesce(k.fingerprint, '') as fingerprint, coalesce(k.operation, 'resumed') as operation"
    " from refunds r join invoices i on i.merchant_id = r.merchant_id and i.id = r.invoice_id"
    " left join idempotency_keys k on k.merchant_id = r.merchant_id and k.resource_id = r.id"
    " where r.id = :id"
)
# Seconds: what is closed already is watched by the poller, which starts the story anew when money comes.
LATE_WATCH = 60.0


async def invoice_order(connection: AsyncConnection, invoice_id: str) -> OpenInvoice | None:
    """None where no such invoice is to be seen."""
    row = (await connection.execute(_INVOICE, {"id": invoice_id})).mappings().one_or_none()
    if row is None:
        return None
    order = msgspec.convert(dict(row) | {"late_watch": LATE_WATCH, "resumed": True}, OpenInvoice)
    acted = scenario_of(
        is_sandbox=order.is_sandbox,
        kind=order.kind,
        phone=order.phone,
        amount=order.amount,
        subscribed=order.subscription is not None,
    )
    return msgspec.structs.replace(order, scenario=acted)


async def refund_order(connection: AsyncConnection, refund_id: str) -> OpenRefund | None:
    """None where no such refund is to be seen."""
    row = (await connection.execute(_REFUND, {"id": refund_id})).mappings().one_or_none()
    if row is None:
        return None
    known = dict(row)
    bill = {"kind": Kind(known.pop("kind")), "phone": known.pop("phone"), "amount": known.pop("billed")}
    bill["subscribed"] = known.pop("subscribed")
    acted = scenario_of(is_sandbox=known["is_sandbox"], **bill)
    return msgspec.convert(known | {"resumed": True, "scenario": acted}, OpenRefund)
