"""QR and link invoices."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from litestar import Request, Response, post
from msgspec import Meta

from api import idempotency
from api.auth import sandbox_of
from api.bodies import Draft, JsonDraft, JsonRequest, RequestBody, Rule
from api.creating import Bill, create_bill
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import cart_bodies, fields
from api.v1.responses import errors
from contracts.v1_json import QrJson
from domain.invoice import Kind
from domain.merchant import Principal


class QrKind(StrEnum):
    """What the payer gets."""

    QR = "qr"
    LINK = "link"


class QrCreate(RequestBody):
    """A bill for whoever scans the QR or opens the link, for an `amount` or for what `cart_items` come to."""

    RULES: ClassVar[dict[str, Rule]] = cart_bodies.RULES

    amount: fields.AmountIn | None = None
    comment: fields.DescriptionIn | None = None
    external_order_id: fields.OrderIdIn | None = None
    is_sandbox: fields.SandboxIn | None = None
    kind: Annotated[QrKind, Meta(description="A QR to scan (default), or a link to open.")] = QrKind.QR
    latitude: (
        Annotated[float, Meta(ge=-90, le=90, description="Accepted and not used: Kaspi takes no place.")] | None
    ) = None
    longitude: Annotated[float, Meta(ge=-180, le=180, description="Accepted and not used.")] | None = None
    cart_items: cart_bodies.CartIn | None = None
    discount_percentage: cart_bodies.DiscountIn | None = None


@post(
    "/qr",
    request_class=JsonRequest,
    dto=JsonDraft[QrCreate],
    return_dto=None,
    tags=["QR"],
    summary="Create a QR or a payment link",
    description="The token and the pictures are for showing at once: Kaspi gives about three minutes to scan.",
    operation_id="createQr",
    responses=errors(400, 401, 403, 409, 422, 502, 503, created=QrJson),
)
async def create_qr(
    request: Request[Any, Any, Any],
    services: Services,
    principal: Principal,
    data: Draft[QrCreate],
    idempotency_key: idempotency.IdempotencyKey = None,
) -> Response[Any]:
    """POST /v1/qr."""
    asked = data.finish(*cart_bodies.wrong_together(data))
    bill = Bill(
        operation="qr",
        kind=Kind(asked.kind),
        amount=None if asked.amount is None else fields.checked_amount(asked.amount),
        is_sandbox=sandbox_of(principal, asked=asked.is_sandbox),
        description=fields.optional_text(asked.comment),
        external_order_id=fields.optional_text(asked.external_order_id),
        cart=cart_bodies.asked_cart(asked.cart_items, asked.discount_percentage),
    )
    key = idempotency.checked(idempotency_key)
    return await create_bill(services, principal, bill, key=key, request_id=request_id_of(request.scope))
