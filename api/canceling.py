"""Withdrawing a bill: the bank is asked, and only its word counts."""

from api.services import Services
from api.visible import visible_invoice
from domain.errors import Code, TolemError
from domain.invoice import OPEN, Invoice, Kind, State
from domain.merchant import Principal

CANCEL_PATIENCE_SECONDS = 75.0  # three tries of the bank, each read back


async def cancel_bill(services: Services, principal: Principal, invoice: Invoice) -> Invoice:
    """The bill as it stands afterwards; one that is canceled already is left alone.

    `TolemError` where it cannot be withdrawn (a payment may have won the race), or the bank gave no clear answer.
    """
    must_be_cancelable(invoice)
    if invoice.state is not State.CANCELED:
        await _ask(services, principal, invoice)
    return await visible_invoice(services, principal, invoice.id)


async def _ask(services: Services, principal: Principal, invoice: Invoice) -> None:
    try:
        await services.engine.cancel(invoice.id, wait=CANCEL_PATIENCE_SECONDS, asked_by=principal.key_id)
    except TolemError as error:
        if error.code is not Code.INVOICE_CLOSED:
            raise
        # No workflow: its story is over, which the books tell, or it was lost, and the watchdog tells it again.
        stands = await visible_invoice(services, principal, invoice.id)
        must_be_cancelable(stands)
        if stands.state is not State.CANCELED:
            raise TolemError(Code.ENGINE_SLOW) from error


def must_be_cancelable(invoice: Invoice) -> None:
    if invoice.kind is not Kind.PHONE:
        raise TolemError(
            Code.INVOICE_NOT_CANCELABLE,
            "Kaspi cannot withdraw a QR or a link; it expires by itself.",
            details={"reason": "kaspi_has_no_cancel_for_qr_and_link"},
        )
    if invoice.state in {State.PAID, State.PARTIALLY_REFUNDED, State.REFUNDED}:
        raise TolemError(Code.INVOICE_ALREADY_PAID, details={"state": invoice.state})
    if invoice.state not in OPEN and invoice.state is not State.CANCELED:
        raise TolemError(Code.INVOICE_NOT_CANCELABLE, details={"state": invoice.state})
