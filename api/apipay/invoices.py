"""`/api/invoices`: bills in ApiPay's words, over the same story as v1's."""

from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.params import QueryParameter

from api import idempotency
from api.apipay import query
from api.apipay.bodies import MAX_NUMBER, InvoiceRequest, checked_phone, optional_text
from api.apipay.responses import errors
from api.apipay.visible import numbered_invoice, sandbox_of
from api.bodies import JsonBody, JsonRequest
from api.canceling import cancel_bill
from api.creating import Bill, make_bill
from api.request_ids import request_id_of
from api.services import Services
from contracts.apipay_answers import states_of
from contracts.apipay_json import InvoiceJson, InvoicePageJson, Status
from contracts.issuing import not_issued
from db.reads import InvoiceFilter, KeptAnswer
from domain.errors import Code, FieldError, TolemError, invalid
from domain.invoice import OPEN, Invoice, Kind
from domain.merchant import Principal
from domain.money import parse_amount


class ApiPayInvoices(Controller):
    """Bills."""

    path = "/invoices"
    tags = ["Invoices"]  # noqa: RUF012 -- Litestar's way

    @post(
        status_code=200,
        request_class=JsonRequest,
        dto=JsonBody[InvoiceRequest],
        return_dto=None,
        summary="Create invoice",
        description="Sends a bill to the payer's Kaspi app. Send `Idempotency-Key` to repeat it safely: then the answer"
        " is of the same bill, as it stands.",
        operation_id="createInvoice",
        responses=errors(400, 502, made=InvoiceJson),
    )
    async def create(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        data: InvoiceRequest,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /invoices."""
        endpoint_id, endpoint_fault = await endpoint_of(services, principal, data.webhook_id)
        bill = Bill(
            operation="invoices",
            kind=Kind.PHONE,
            amount=parse_amount(data.amount),
            phone=checked_phone(data.phone_number),
            is_sandbox=sandbox_of(principal),
            description=optional_text(data.description),
            external_order_id=optional_text(data.external_order_id),
            endpoint_id=endpoint_id,
            endpoint_fault=endpoint_fault,
        )
        key = idempotency.checked(idempotency_key)
        made = await make_bill(services, principal, bill, key=key, request_id=request_id_of(request.scope))
        again = isinstance(made, KeptAnswer)
        invoice = await _kept(services, principal, made) if isinstance(made, KeptAnswer) else made.invoice
        refused = not_issued(invoice)
        if refused is not None:
            raise TolemError(refused[0], details=refused[1])
        return Response(services.apipay.invoice(invoice), headers=idempotency.REPLAYED if again else None)

    @get(summary="List invoices", operation_id="listInvoices", responses=errors())
    async def list_(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        page: query.PageIn = 1,
        per_page: query.PerPageIn = 10,
        search: query.SearchIn = None,
        status: Annotated[list[Status] | None, QueryParameter(name="status[]", description="Any of these.")] = None,
        date_from: query.DayIn = None,
        date_to: query.DayIn = None,
    ) -> InvoicePageJson:
        """GET /invoices."""
        words = query.statuses(request.query_params.multi_items())
        since, before = query.days(date_from, date_to)
        wanted = InvoiceFilter(
            states=None if words is None else states_of(words),
            is_sandbox=sandbox_of(principal),
            order_search=query.clean_search(search),
            date_from=since,
            date_to=before,
            offset=query.offset_of(page, per_page),
            limit=per_page,
        )
        found = await services.reads.page(principal.merchant.id, wanted)
        return InvoicePageJson(
            data=[services.apipay.invoice(one) for one in found.items],
            meta=query.meta(page, per_page, found.total, has_more=found.has_more),
        )

    @get("/{invoice_id:int}", summary="Get invoice", operation_id="getInvoice", responses=errors(404))
    async def read(self, services: Services, principal: Principal, invoice_id: int) -> InvoiceJson:
        """GET /invoices/{id}."""
        return services.apipay.invoice(await numbered_invoice(services, principal, invoice_id))

    @post(
        "/{invoice_id:int}/cancel",
        status_code=200,
        summary="Cancel invoice",
        description="Only a `pending` bill can be cancelled. Kaspi is asked, and only its word counts: a payment may"
        " win the race.",
        operation_id="cancelInvoice",
        responses=errors(400, 404, 502),
    )
    async def cancel(self, services: Services, principal: Principal, invoice_id: int) -> InvoiceJson:
        """POST /invoices/{id}/cancel."""
        invoice = await numbered_invoice(services, principal, invoice_id)
        if invoice.state not in OPEN:
            raise TolemError(Code.INVOICE_NOT_CANCELABLE, details={"state": invoice.state})
        return services.apipay.invoice(await cancel_bill(services, principal, invoice))


async def endpoint_of(
    services: Services, principal: Principal, number: int | None
) -> tuple[str | None, FieldError | None]:
    """The endpoint that alone is told, and what is wrong with it for a new object: it is deleted.

    `TolemError` for one that there never was in this key's mode: nothing would ever come.
    """
    if number is None:
        return None, None
    known = 0 < number <= MAX_NUMBER
    found = await services.reads.endpoint_by_number(principal.merchant.id, number) if known else None
    fault = FieldError("webhook_id", "not_found", "There is no such webhook for this key's mode.")
    if found is None or found.is_sandbox is not sandbox_of(principal):
        raise invalid(fault)
    return found.id, fault if found.deleted else None


async def _kept(services: Services, principal: Principal, kept: KeptAnswer) -> Invoice:
    found = await services.reads.invoice(principal.merchant.id, kept.resource_id)
    if found is None:
        raise AssertionError("an answer is kept for a bill that is not there")
    return found
