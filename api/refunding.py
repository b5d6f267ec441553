"""Asking for a refund: one round trip to the engine, and an answer that is true whatever happened."""

from datetime import timedelta
from typing import Any

import msgspec
from litestar import MediaType, Response

from api.asking import ask_engine
from api.idempotency import fingerprint, replay, replayed
from api.services import Services
from db.reads import KeptAnswer
from db.refund_reads import CreatedRefund
from domain.cart import AskedItem
from domain.errors import Code, TolemError
from domain.ids import REFUND, derived_id, new_id
from domain.invoice import Invoice
from domain.merchant import Mode, Principal
from domain.money import format_amount
from domain.policy import REFUND_CALL_OVERHEAD
from domain.refund import OpenRefund, SimulatedRefund, as_recorded, refund_refusal
from domain.scenarios import scenario_of

OPERATION = "refunds"


class AskedRefund(msgspec.Struct, frozen=True, kw_only=True):
    """Checked: `amount` in tiyn; None for what `items` come to, or without them for all that is left."""

    amount: int | None
    items: list[AskedItem]
    reason: str | None
    simulate: SimulatedRefund


async def create_refund(
    services: Services, principal: Principal, invoice: Invoice, asked: AskedRefund, *, key: str | None, request_id: str
) -> Response[Any]:
    """The answer in v1: 201 with the refund as it was recorded, or the error that says why there is none (409, 503)."""
    made = await make_refund(services, principal, invoice, asked, key=key, request_id=request_id)
    return replayed(made) if isinstance(made, KeptAnswer) else _answer(services, made, request_id)


async def make_refund(
    services: Services, principal: Principal, invoice: Invoice, asked: AskedRefund, *, key: str | None, request_id: str
) -> CreatedRefund | KeptAnswer:
    """The refund as it was recorded, or the answer that stands for the key; `TolemError` where there is none."""
    order = _order(services, principal, invoice, asked, key, request_id)
    merchant = principal.merchant.id
    if key is not None:
        kept = await services.reads.kept_answer(merchant, _mode(invoice), OPERATION, key)
        if kept is not None and replay(kept, order.fingerprint) is not None:
            return kept
    _must_be_possible(invoice, asked)
    created = await ask_engine(
        services,
        lambda wait, _again: services.engine.open_refund(order, wait=wait),
        read=lambda: services.refunds.created(merchant, order.refund_id),
        final_word=lambda: services.refunds.created(merchant, order.refund_id, final=True),
        about={"refund_id": order.refund_id},
    )
    if created is None:
        raise TolemError(Code.ENGINE_UNAVAILABLE)
    if created.fingerprint is not None and created.fingerprint != order.fingerprint:
        raise TolemError(Code.IDEMPOTENCY_KEY_REUSED)
    return created


def _mode(invoice: Invoice) -> Mode:
    return Mode.TEST if invoice.is_sandbox else Mode.LIVE


def _must_be_possible(invoice: Invoice, asked: AskedRefund) -> None:
    # The workflow decides, under the invoice's lock; this spares it what can be seen from here.
    refusal = refund_refusal(invoice, asked.amount)
    if refusal is None:
        return
    code, available = refusal
    details = {"state": str(invoice.state)} if available is None else {"available": format_amount(available)}
    raise TolemError(code, details=details)


def _order(
    services: Services,
    principal: Principal,
    invoice: Invoice,
    asked: AskedRefund,
    key: str | None,
    request_id: str,
) -> OpenRefund:
    refund_id = new_id(REFUND)
    if key is not None:
        refund_id = derived_id(REFUND, principal.id_salt, principal.merchant.id, _mode(invoice), OPERATION, key)
    return OpenRefund(
        refund_id=refund_id,
        merchant_id=principal.merchant.id,
        invoice_id=invoice.id,
        is_sandbox=invoice.is_sandbox,
        open_before=principal.database_now + timedelta(seconds=services.api.issue_window_seconds),
        fingerprint=_fingerprint(principal, invoice, asked),
        operation=OPERATION,
        request_id=request_id,
        asked_by=principal.key_id,
        amount=asked.amount,
        items=asked.items,
        reason=asked.reason,
        idempotency_key=key,
        simulate=asked.simulate,
        read_back_window=services.invoices.refund_window_seconds,
        longest_call=services.invoices.kaspi_read_timeout_seconds + REFUND_CALL_OVERHEAD,
        scenario=scenario_of(
            is_sandbox=invoice.is_sandbox,
            kind=invoice.kind,
            phone=invoice.phone,
            amount=invoice.amount,
            subscribed=invoice.subscription_id is not None,
        ),
    )


def _fingerprint(principal: Principal, invoice: Invoice, asked: AskedRefund) -> str:
    items = (asked.items,) if asked.items else ()
    return fingerprint(principal.id_salt, OPERATION, invoice.id, asked.amount, asked.reason, asked.simulate, *items)


def _answer(services: Services, created: CreatedRefund, request_id: str) -> Response[Any]:
    status, body = services.v1.refund_answer(as_recorded(created.refund), request_id)
    if created.status is not None and created.body is not None:
        status, body = created.status, created.body
    headers = {"Location": f"/api/v1/refunds/{created.refund.id}"}
    return Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)
