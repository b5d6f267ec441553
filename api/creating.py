"""Creating a bill: one round trip to the engine, and an answer that is true whatever happened."""

from datetime import timedelta
from typing import Any

import msgspec
from litestar import MediaType, Response

from api.asking import ask_engine
from api.carts import AskedCart, priced
from api.idempotency import fingerprint, replay, replayed
from api.services import Services
from db.reads import Created, KeptAnswer
from domain.bank import Scheme
from domain.cart import InvoiceItem
from domain.errors import Code, FieldError, TolemError, invalid
from domain.ids import INVOICE, derived_id, new_id
from domain.invoice import Kind, OpenInvoice
from domain.merchant import Mode, Principal
from domain.scenarios import scenario_of


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, checked: amount in tiyn (None where the cart says it), phone normal.

    `endpoint_id` is the one webhook endpoint to tell of it; without one all are told. `endpoint_fault` is what is wrong
    with it for a new bill, where a repeated request may still name it.
    """

    operation: str
    kind: Kind
    amount: int | None
    is_sandbox: bool
    cart: AskedCart | None = None
    phone: str | None = None
    description: str | None = None
    external_order_id: str | None = None
    endpoint_id: str | None = None
    endpoint_fault: FieldError | None = None


async def create_bill(
    services: Services, principal: Principal, bill: Bill, *, key: str | None, request_id: str
) -> Response[Any]:
    """The creation's answer in v1: 201, or the error that says why nothing was issued (400, 409, 422, 502, 503)."""
    made = await make_bill(services, principal, bill, key=key, request_id=request_id)
    return replayed(made) if isinstance(made, KeptAnswer) else _answer(services, made, request_id)


async def make_bill(
    services: Services, principal: Principal, bill: Bill, *, key: str | None, request_id: str
) -> Created | KeptAnswer:
    """The bill with what its creation came to, or the answer that stands for the key; `TolemError` where there is none.

    A bill that the bank refused is a bill too: `contracts.issuing.not_issued` says so.
    """
    print_ = _fingerprint(principal, bill)
    if key is not None:
        kept = await services.reads.kept_answer(principal.merchant.id, _mode(bill), bill.operation, key)
        if kept is not None and replay(kept, print_) is not None:
            return kept
    _must_be_possible(principal, bill)
    # Only now: what was in the catalog when a kept answer was given may not be there any more.
    amount, items = await _sold(services, principal, bill)
    order = _order(services, principal, bill, print_, key, request_id, amount=amount, items=items)
    created = await _issue(services, principal, order)
    if created is None:
        raise TolemError(Code.ENGINE_UNAVAILABLE)
    if created.fingerprint is not None and created.fingerprint != order.fingerprint:
        raise TolemError(Code.IDEMPOTENCY_KEY_REUSED)
    return created


def _mode(bill: Bill) -> Mode:
    return Mode.TEST if bill.is_sandbox else Mode.LIVE


def _fingerprint(principal: Principal, bill: Bill) -> str:
    """Of what was asked for: with the same key a cart is the same whatever its items cost meanwhile."""
    asked = (bill.kind, bill.amount, bill.is_sandbox, bill.phone, bill.description, bill.external_order_id)
    cart = () if bill.cart is None else (bill.cart,)
    told = () if bill.endpoint_id is None else ("endpoint", bill.endpoint_id)
    return fingerprint(principal.id_salt, bill.operation, *asked, *cart, *told)


async def _sold(services: Services, principal: Principal, bill: Bill) -> tuple[int, list[InvoiceItem]]:
    """The bill's amount in tiyn, and the lines that make it."""
    if bill.cart is not None:
        merchant = principal.merchant.id
        sold = await priced(services, merchant, bill.cart, is_sandbox=bill.is_sandbox, amount=bill.amount)
        return sold.amount, sold.items
    if bill.amount is None:
        raise AssertionError("a bill has an amount or a cart")
    return bill.amount, []


def _order(
    services: Services,
    principal: Principal,
    bill: Bill,
    print_: str,
    key: str | None,
    request_id: str,
    *,
    amount: int,
    items: list[InvoiceItem],
) -> OpenInvoice:
    invoice_id = new_id(INVOICE)
    if key is not None:
        invoice_id = derived_id(INVOICE, principal.id_salt, principal.merchant.id, _mode(bill), bill.operation, key)
    asked = principal.database_now
    return OpenInvoice(
        invoice_id=invoice_id,
        merchant_id=principal.merchant.id,
        kind=bill.kind,
        is_sandbox=bill.is_sandbox,
        amount=amount,
        issue_before=asked + timedelta(seconds=services.api.issue_window_seconds),
        answer_by=asked + timedelta(seconds=services.api.answer_within_seconds),
        fingerprint=print_,
        operation=bill.operation,
        request_id=request_id,
        late_watch=float(services.invoices.late_watch_seconds),
        asked_by=principal.key_id,
        connection_id=None if bill.is_sandbox else principal.connection_id,
        phone=bill.phone,
        description=bill.description,
        external_order_id=bill.external_order_id,
        idempotency_key=key,
        endpoint_id=bill.endpoint_id,
        discount_percentage=None if bill.cart is None else bill.cart.discount,
        items=items,
        scenario=scenario_of(is_sandbox=bill.is_sandbox, kind=bill.kind, phone=bill.phone, amount=amount),
    )


def _must_be_possible(principal: Principal, bill: Bill) -> None:
    if bill.endpoint_fault is not None:
        raise invalid(bill.endpoint_fault)
    if bill.is_sandbox:
        return
    if principal.connection_id is None:
        raise TolemError(Code.KASPI_NOT_CONNECTED)
    if bill.kind is Kind.PHONE and principal.connection_scheme is not Scheme.R3:
        raise TolemError(Code.KASPI_SCHEME_UNSUPPORTED, details={"scheme": str(principal.connection_scheme)})


async def _issue(services: Services, principal: Principal, order: OpenInvoice) -> Created | None:
    merchant, invoice = principal.merchant.id, order.invoice_id
    return await ask_engine(
        services,
        lambda wait, again: services.engine.issue(order, again=again, wait=wait),
        read=lambda: services.reads.created(merchant, invoice),
        final_word=lambda: services.reads.final_word(merchant, invoice),
        about={"invoice_id": invoice},
    )


def _answer(services: Services, created: Created, request_id: str) -> Response[Any]:
    if created.status is not None and created.body is not None:
        return Response(created.body, status_code=created.status, media_type=MediaType.JSON)
    status, body = services.v1.creation_answer(created.invoice, request_id)
    return Response(body, status_code=status, media_type=MediaType.JSON, headers={"Location": _location(created)})


def _location(created: Created) -> str:
    return f"/api/v1/invoices/{created.invoice.id}"
