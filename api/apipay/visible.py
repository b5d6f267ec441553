"""Objects by the merchant's own numbers, as a key may see them.

ApiPay has one mode and no word for a second one, so its clients could not tell money from play: here a key sees the
objects of its own mode only. (At v1, whose answers say `is_sandbox`, a live key sees both.)
"""

from api.apipay.bodies import MAX_NUMBER
from api.services import Services
from domain.errors import Code, TolemError
from domain.invoice import Invoice
from domain.merchant import Mode, Principal
from domain.refund import Refund


def sandbox_of(principal: Principal) -> bool:
    """Whether the objects of this key are sandbox ones."""
    return principal.mode is Mode.TEST


async def numbered_invoice(services: Services, principal: Principal, number: int) -> Invoice:
    """404 for a number there is none of, and for a bill of the other mode."""
    known = 0 < number <= MAX_NUMBER
    found = await services.reads.invoice_by_number(principal.merchant.id, number) if known else None
    if found is None or found.is_sandbox is not sandbox_of(principal):
        raise TolemError(Code.NOT_FOUND)
    return found


async def numbered_refund(services: Services, principal: Principal, number: int) -> Refund:
    """The same of a refund."""
    known = 0 < number <= MAX_NUMBER
    found = await services.refunds.refund_by_number(principal.merchant.id, number) if known else None
    if found is None or found.is_sandbox is not sandbox_of(principal):
        raise TolemError(Code.NOT_FOUND)
    return found
