"""`/api/refunds` and the refunds of a bill, in ApiPay's words."""

import asyncio
from typing import Any

from litestar import Controller, Request, Response, get, post

from api import idempotency
from api.apipay import query
from api.apipay.bodies import RefundRequest, optional_text
from api.apipay.responses import errors
from api.apipay.visible import numbered_invoice, numbered_refund, sandbox_of
from api.bodies import JsonBody
from api.optional_body import BodyOptional
from api.refunding import AskedRefund, make_refund
from api.request_ids import request_id_of
from api.services import Services
from contracts.apipay_json import RefundJson, RefundListJson, RefundPageJson
from db.reads import KeptAnswer
from db.refund_reads import RefundFilter
from domain.merchant import Principal
from domain.money import parse_amount
from domain.refund import OPEN_REFUNDS, Refund, SimulatedRefund

# ApiPay's answer says `completed` at once, and tells of no refund later: so the answer waits as long as people do.
OUTCOME_PATIENCE_SECONDS = 8.0
_LOOK_SECONDS = 0.1


@post(
    "/invoices/{invoice_id:int}/refund",
    status_code=200,
    dto=JsonBody[RefundRequest],
    return_dto=None,
    tags=["Refunds"],
    summary="Create refund",
    description="Of a paid bill: an `amount`, or without it all that is left. The answer waits some seconds for the"
    " bank; `pending` and `processing` mean that the outcome is not known yet.",
    operation_id="createRefund",
    operation_class=BodyOptional,
    responses=errors(400, 404, made=RefundJson),
)
async def apipay_refund(
    request: Request[Any, Any, Any],
    services: Services,
    principal: Principal,
    invoice_id: int,
    data: RefundRequest | None = None,
    idempotency_key: idempotency.IdempotencyKey = None,
) -> Response[Any]:
    """POST /invoices/{id}/refund."""
    key = idempotency.checked(idempotency_key)
    invoice = await numbered_invoice(services, principal, invoice_id)
    given = data or RefundRequest()
    asked = AskedRefund(
        items=[],
        amount=None if given.amount is None else parse_amount(given.amount),
        reason=optional_text(given.reason),
        simulate=SimulatedRefund.COMPLETED,
    )
    made = await make_refund(services, principal, invoice, asked, key=key, request_id=request_id_of(request.scope))
    again = isinstance(made, KeptAnswer)
    refund_id = made.resource_id if isinstance(made, KeptAnswer) else made.refund.id
    refund = await _outcome(services, principal, refund_id)
    body = services.apipay.refund(refund, invoice.number)
    return Response(body, headers=idempotency.REPLAYED if again else None)


@get(
    "/invoices/{invoice_id:int}/refunds",
    tags=["Refunds"],
    summary="List invoice refunds",
    operation_id="listInvoiceRefunds",
    responses=errors(404),
)
async def apipay_invoice_refunds(services: Services, principal: Principal, invoice_id: int) -> RefundListJson:
    """GET /invoices/{id}/refunds."""
    invoice = await numbered_invoice(services, principal, invoice_id)
    found = await services.refunds.page(principal.merchant.id, RefundFilter(invoice_id=invoice.id, limit=100))
    return RefundListJson(data=[services.apipay.refund(one, invoice.number) for one in found.items])


class ApiPayRefunds(Controller):
    """Refunds of every bill."""

    path = "/refunds"
    tags = ["Refunds"]  # noqa: RUF012 -- Litestar's way

    @get(summary="List all refunds", operation_id="listRefunds", responses=errors())
    async def list_(
        self,
        services: Services,
        principal: Principal,
        page: query.PageIn = 1,
        per_page: query.PerPageIn = 10,
    ) -> RefundPageJson:
        """GET /refunds."""
        wanted = RefundFilter(
            is_sandbox=sandbox_of(principal),
            offset=query.offset_of(page, per_page),
            limit=per_page,
        )
        found = await services.refunds.page(principal.merchant.id, wanted)
        return RefundPageJson(
            data=await _shown(services, principal, found.items),
            meta=query.meta(page, per_page, found.total, has_more=found.has_more),
        )

    @get("/{refund_id:int}", summary="Get refund", operation_id="getRefund", responses=errors(404))
    async def read(self, services: Services, principal: Principal, refund_id: int) -> RefundJson:
        """GET /refunds/{id}."""
        refund = await numbered_refund(services, principal, refund_id)
        return (await _shown(services, principal, [refund]))[0]


async def _shown(services: Services, principal: Principal, refunds: list[Refund]) -> list[RefundJson]:
    numbers = await services.reads.invoice_numbers(principal.merchant.id, [one.invoice_id for one in refunds])
    return [services.apipay.refund(one, numbers[one.invoice_id]) for one in refunds]


async def _outcome(services: Services, principal: Principal, refund_id: str) -> Refund:
    """The refund once it is over, or as it stands after the patience."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + OUTCOME_PATIENCE_SECONDS
    while True:
        refund = await services.refunds.refund(principal.merchant.id, refund_id)
        if refund is None:
            raise AssertionError("a refund that was recorded is not there")
        if refund.state not in OPEN_REFUNDS or refund.attention is not None or loop.time() >= ends:
            return refund
        await asyncio.sleep(_LOOK_SECONDS)
