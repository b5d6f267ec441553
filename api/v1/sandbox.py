"""The simulated payer of sandbox invoices."""

from enum import StrEnum

from litestar import post

from api.bodies import JsonBody, RequestBody
from api.services import Services
from api.v1.responses import errors
from api.visible import visible_invoice
from contracts.v1_json import InvoiceJson
from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.invoice import State
from domain.merchant import Principal

PATIENCE_SECONDS = 10.0


class SimulatedStatus(StrEnum):
    """What the payer (or the bank) does."""

    PAID = "paid"
    CANCELED = "canceled"
    FAILED = "failed"
    PENDING = "pending"


class Simulation(RequestBody):
    """The act to simulate."""

    status: SimulatedStatus


_VERDICTS = {
    SimulatedStatus.PAID: Verdict.PAID,
    SimulatedStatus.CANCELED: Verdict.REJECTED,
    SimulatedStatus.FAILED: Verdict.FAILED,
    SimulatedStatus.PENDING: Verdict.WAITING,
}


@post(
    "/sandbox/invoices/{invoice_id:str}/simulate",
    status_code=200,
    dto=JsonBody[Simulation],
    return_dto=None,
    tags=["Sandbox"],
    summary="Simulate the payer",
    description="Moves a sandbox invoice through the same workflow, events and webhooks as a live one.",
    operation_id="simulateInvoice",
    responses=errors(400, 401, 404, 409, 503),
)
async def simulate(services: Services, principal: Principal, invoice_id: str, data: Simulation) -> InvoiceJson:
    """POST /v1/sandbox/invoices/{id}/simulate."""
    invoice = await visible_invoice(services, principal, invoice_id)
    if not invoice.is_sandbox:
        raise TolemError(Code.NOT_SANDBOX)
    # Of refunds the bill's own story knows nothing: while it still runs it would call the bill paid, as it asked.
    if invoice.state in {State.PARTIALLY_REFUNDED, State.REFUNDED}:
        raise TolemError(Code.ILLEGAL_TRANSITION, details={"state": invoice.state})
    try:
        verdict, key = _VERDICTS[data.status], principal.key_id
        await services.engine.simulate(invoice.id, verdict, wait=PATIENCE_SECONDS, asked_by=key)
    except TolemError as error:
        if error.code is not Code.INVOICE_CLOSED:
            raise
        raise TolemError(Code.ILLEGAL_TRANSITION, details={"state": invoice.state}) from error
    return services.v1.invoice(await visible_invoice(services, principal, invoice_id))
