"""Objects as a key may see them."""

from api.auth import sees_sandbox_only
from api.services import Services
from domain.errors import Code, TolemError
from domain.invoice import Invoice
from domain.merchant import Principal


async def visible_invoice(services: Services, principal: Principal, invoice_id: str) -> Invoice:
    """The merchant's invoice; 404 for another merchant's, and for a live one under a test key."""
    found = await services.reads.invoice(principal.merchant.id, invoice_id) if "\x00" not in invoice_id else None
    if found is None or (sees_sandbox_only(principal) and not found.is_sandbox):
        raise TolemError(Code.NOT_FOUND)
    return found
