"""What every contract tells of a bill's issue: where the payer goes, and why the bank has no such bill."""

from domain.errors import Code
from domain.invoice import Invoice, Reason, State

_NOT_ISSUED = {
    Reason.REFUSED: Code.KASPI_REFUSED,
    Reason.MISCONFIGURED: Code.KASPI_MISCONFIGURED,
    Reason.UNAVAILABLE: Code.KASPI_UNAVAILABLE,
}


def payment_url(public_url: str, invoice: Invoice) -> str | None:
    """Where the payer goes: the bank's link, or our page that shows the QR or how to find the bill."""
    if invoice.bank_payment_id is None:
        return None  # not issued, or not known to be: there is nothing to pay
    return invoice.payment_link or f"{public_url}/pay/{invoice.id}"


def not_issued(invoice: Invoice) -> tuple[Code, dict[str, str]] | None:
    """The code and details that say why the bank has no such bill; None where it has, or may have."""
    code = _NOT_ISSUED.get(invoice.status_reason) if invoice.status_reason else None
    if invoice.state is not State.FAILED or code is None:
        return None
    details = {"invoice_id": invoice.id}
    if invoice.bank_code is not None:
        details["kaspi_code"] = str(invoice.bank_code)
    return code, details
