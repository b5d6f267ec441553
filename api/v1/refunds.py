"""Refunds: ask for one, read, list; and the simulated bank of sandbox refunds."""

from datetime import date
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.params import Parameter

from api import idempotency
from api.auth import sees_sandbox_only
from api.bodies import JsonBody
from api.optional_body import BodyOptional
from api.refunding import AskedRefund, create_refund
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import fields, paging
from api.v1.choices import every_wrong
from api.v1.days import first_moment, moment_after
from api.v1.refund_bodies import InvoiceRefundCreate, RefundCreate, RefundSimulation, asked_items
from api.v1.responses import errors
from api.visible import visible_invoice
from contracts.v1_json import RefundJson
from db.refund_reads import RefundFilter
from domain.errors import Code, FieldError, TolemError, invalid
from domain.invoice import Invoice
from domain.merchant import Principal
from domain.refund import Refund, RefundState, SimulatedRefund

SIMULATE_PATIENCE_SECONDS = 10.0


class RefundPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to 10 000; page on with `next_cursor` beyond that."""

    items: list[RefundJson]
    page: int
    page_size: int
    total: int
    has_more: bool
    next_cursor: str | None


class RefundListJson(msgspec.Struct, frozen=True, kw_only=True):
    """Every refund of one invoice, newest first (the newest 100)."""

    items: list[RefundJson]


_CREATED = (
    "Recorded with status `pending`; the money is reserved and goes back in the background. Refunds of one invoice run"
    " one at a time, in order of arrival. `refund.completed` or `refund.failed` (and `invoice.refunded`) tell the"
    " outcome; while `attention` is set an operator looks at it. Payments of schemes r1 and r2 can only be refunded in"
    " the Kaspi Pay app."
)


@post(
    "/invoices/{invoice_id:str}/refund",
    dto=JsonBody[InvoiceRefundCreate],
    return_dto=None,
    tags=["Refunds"],
    summary="Refund an invoice",
    description=_CREATED,
    operation_id="refundInvoice",
    operation_class=BodyOptional,
    responses=errors(400, 401, 404, 409, 422, 503, created=RefundJson),
)
async def refund_invoice(
    request: Request[Any, Any, Any],
    services: Services,
    principal: Principal,
    invoice_id: str,
    data: InvoiceRefundCreate | None = None,
    idempotency_key: idempotency.IdempotencyKey = None,
) -> Response[Any]:
    """POST /v1/invoices/{id}/refund."""
    key = idempotency.checked(idempotency_key)
    invoice = await visible_invoice(services, principal, invoice_id)
    asked = _asked(invoice, data or InvoiceRefundCreate())
    return await create_refund(services, principal, invoice, asked, key=key, request_id=request_id_of(request.scope))


@get(
    "/invoices/{invoice_id:str}/refunds",
    tags=["Refunds"],
    summary="List an invoice's refunds",
    operation_id="listInvoiceRefunds",
    responses=errors(400, 401, 404, 503),
)
async def invoice_refunds(services: Services, principal: Principal, invoice_id: str) -> RefundListJson:
    """GET /v1/invoices/{id}/refunds."""
    invoice = await visible_invoice(services, principal, invoice_id)
    found = await services.refunds.page(principal.merchant.id, RefundFilter(invoice_id=invoice.id, limit=100))
    return RefundListJson(items=[services.v1.refund(item) for item in found.items])


class RefundController(Controller):
    """`/api/v1/refunds`."""

    path = "/refunds"
    tags = ["Refunds"]  # noqa: RUF012 -- Litestar's way

    @post(
        dto=JsonBody[RefundCreate],
        return_dto=None,
        summary="Refund an invoice or a QR",
        description=_CREATED,
        operation_id="createRefund",
        responses=errors(400, 401, 404, 409, 422, 503, created=RefundJson),
    )
    async def create(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        data: RefundCreate,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/refunds."""
        key = idempotency.checked(idempotency_key)
        invoice = await visible_invoice(services, principal, _target(data))
        asked = _asked(invoice, data)
        return await create_refund(
            services, principal, invoice, asked, key=key, request_id=request_id_of(request.scope)
        )

    @get(summary="List refunds", operation_id="listRefunds", responses=errors(400, 401, 503))
    async def list_(
        self,
        services: Services,
        principal: Principal,
        status: RefundState | None = None,
        attention: Annotated[bool | None, Parameter(description="Those an operator has to look at, or not.")] = None,
        invoice_id: Annotated[str | None, Parameter(max_length=64)] = None,
        page: Annotated[int, Parameter(ge=1, le=1_000_000)] = 1,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        is_sandbox: bool | None = None,
        date_from: Annotated[date | None, Parameter(description="First day (Asia/Almaty), inclusive.")] = None,
        date_to: Annotated[date | None, Parameter(description="Last day (Asia/Almaty), inclusive.")] = None,
        cursor: Annotated[
            str | None, Parameter(description="`next_cursor` of the page before; instead of `page`.")
        ] = None,
    ) -> RefundPageJson:
        """GET /v1/refunds."""
        with every_wrong() as read:
            after, offset = read(paging.start, cursor, page, page_size) or (None, 0)
            wanted = RefundFilter(
                states=None if status is None else [status],
                in_attention=attention,
                invoice_id=read(paging.clean, invoice_id, "invoice_id"),
                is_sandbox=True if sees_sandbox_only(principal) else is_sandbox,
                date_from=read(first_moment, date_from, "date_from"),
                date_to=read(moment_after, date_to, "date_to"),
                after=after,
                offset=offset,
                limit=page_size,
            )
        found = await services.refunds.page(principal.merchant.id, wanted)
        last = found.items[-1] if found.items and found.has_more else None
        return RefundPageJson(
            items=[services.v1.refund(item) for item in found.items],
            page=page,
            page_size=page_size,
            total=found.total,
            has_more=found.has_more,
            next_cursor=None if last is None else paging.cursor(last.created_at, last.id),
        )

    @get("/{refund_id:str}", summary="Get a refund", operation_id="getRefund", responses=errors(400, 401, 404, 503))
    async def read(self, services: Services, principal: Principal, refund_id: str) -> RefundJson:
        """GET /v1/refunds/{id}."""
        return services.v1.refund(await _visible(services, principal, refund_id))


@post(
    "/sandbox/refunds/{refund_id:str}/simulate",
    status_code=200,
    dto=JsonBody[RefundSimulation],
    return_dto=None,
    tags=["Sandbox"],
    summary="Simulate the bank of a refund",
    description="Moves a sandbox refund made with `simulate: pending` (or one in attention).",
    operation_id="simulateRefund",
    responses=errors(400, 401, 404, 409, 503),
)
async def simulate_refund(
    services: Services, principal: Principal, refund_id: str, data: RefundSimulation
) -> RefundJson:
    """POST /v1/sandbox/refunds/{id}/simulate."""
    refund = await _visible(services, principal, refund_id)
    if not refund.is_sandbox:
        raise TolemError(Code.NOT_SANDBOX)
    if data.status is SimulatedRefund.PENDING:
        raise fields.wrong("status", "Must be completed, failed or attention.")
    try:
        await services.engine.simulate_refund(refund.id, data.status, wait=SIMULATE_PATIENCE_SECONDS)
    except TolemError as error:
        if error.code is not Code.REFUND_CLOSED:
            raise
        raise TolemError(Code.ILLEGAL_TRANSITION, details={"state": refund.state}) from error
    return services.v1.refund(await _visible(services, principal, refund_id))


async def _visible(services: Services, principal: Principal, refund_id: str) -> Refund:
    found = await services.refunds.refund(principal.merchant.id, refund_id) if "\x00" not in refund_id else None
    if found is None or (sees_sandbox_only(principal) and not found.is_sandbox):
        raise TolemError(Code.NOT_FOUND)
    return found


def _target(data: RefundCreate) -> str:
    named = [one for one in (data.invoice_id, data.qr_id) if one is not None]
    if len(named) != 1:
        message = "Give exactly one of invoice_id and qr_id."
        raise invalid(FieldError("invoice_id", "invalid", message), FieldError("qr_id", "invalid", message))
    return named[0]


def _asked(invoice: Invoice, data: InvoiceRefundCreate | RefundCreate) -> AskedRefund:
    if data.simulate is not None and not invoice.is_sandbox:
        raise fields.wrong("simulate", "Only sandbox refunds can be simulated.")
    return AskedRefund(
        items=asked_items(invoice, data),
        amount=None if data.amount is None else fields.checked_amount(data.amount),
        reason=fields.optional_text(data.reason),
        simulate=data.simulate or SimulatedRefund.COMPLETED,
    )
