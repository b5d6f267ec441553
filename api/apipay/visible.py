"""Objects by the merchant's own numbers, as a key may see them."""

from api.apipay.bodies import MAX_NUMBER
from api.auth import sees_sandbox_only
from api.services import Services
from domain.errors import Code, TolemError
from domain.invoice import Invoice
from domain.merchant import Principal
from domain.refund import Refund


async def numbered_invoice(services: Services, principal: Principal, number: int) -> Invoice:
    """404 for a number there is none of, and for a live bill under a test key."""
    known = 0 < number <= MAX_NUMBER
    found = await services.reads.invoice_by_number(principal.merchant.id, number) if known else None
    if found is None or (sees_sandbox_only(principal) and not found.is_sandbox):
        raise TolemError(Code.NOT_FOUND)
    return found


async def numbered_refund(services: Services, principal: Principal, number: int) -> Refund:
    """The same of a refund."""
    known = 0 < number <= MAX_NUMBER
    found = await services.refunds.refund_by_number(principal.merchant.id, number) if known else None
    if found is None or (sees_sandbox_only(principal) and not found.is_sandbox):
        raise TolemError(Code.NOT_FOUND)
    return found
