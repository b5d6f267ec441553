"""What requests about refunds may hold."""

from typing import Annotated, ClassVar

from msgspec import Meta

from api.bodies import RequestBody, Rule
from api.v1 import fields
from api.v1.cart_bodies import CountIn
from domain.cart import MAX_LINES, AskedItem
from domain.catalog import BadCount, check_count, parse_count
from domain.errors import FieldError, invalid
from domain.invoice import Invoice
from domain.refund import SimulatedRefund

ReasonIn = Annotated[str, Meta(description="For your own books.", max_length=500, examples=["Нет в наличии"])]
SimulateIn = Annotated[
    SimulatedRefund,
    Meta(
        description="Sandbox only: what the simulated bank does; `pending` waits for"
        " `POST /v1/sandbox/refunds/{id}/simulate`. Without it, completed."
    ),
]


class RefundItem(RequestBody):
    """A line of the invoice: so much of its count, or so much money, or with neither all that is left of it."""

    RULES: ClassVar[dict[str, Rule]] = {"count": parse_count, "amount": fields.checked_amount}

    position: Annotated[int, Meta(ge=1, le=MAX_LINES, description="The line's `position` in the invoice's `items`.")]
    count: CountIn | None = None
    amount: fields.AmountIn | None = None


ItemsIn = Annotated[
    list[RefundItem],
    Meta(min_length=1, max_length=MAX_LINES, description="Lines of an invoice with a cart; instead of `amount`."),
]


def checked_items(value: list[RefundItem]) -> list[RefundItem]:
    """Used as a rule: some lines, and each once."""
    if not 1 <= len(value) <= MAX_LINES:
        raise ValueError(f"must have 1 to {MAX_LINES} lines")
    if len({item.position for item in value}) < len(value):
        raise ValueError("must name each line once")
    return value


class InvoiceRefundCreate(RequestBody):
    """A refund of the invoice in the path: of an `amount`, of `items`, or without both of all that is left."""

    RULES: ClassVar[dict[str, Rule]] = {"amount": fields.checked_amount, "items": checked_items}

    amount: fields.AmountIn | None = None
    items: ItemsIn | None = None
    reason: ReasonIn | None = None
    simulate: SimulateIn | None = None


class RefundCreate(RequestBody):
    """A refund of an invoice, named by `invoice_id`, or by `qr_id` as `POST /v1/qr` gave it.

    Of an `amount`, of `items`, or without both of all that is left.
    """

    RULES: ClassVar[dict[str, Rule]] = {"amount": fields.checked_amount, "items": checked_items}

    invoice_id: Annotated[str, Meta(max_length=64)] | None = None
    qr_id: Annotated[str, Meta(max_length=64)] | None = None
    amount: fields.AmountIn | None = None
    items: ItemsIn | None = None
    reason: ReasonIn | None = None
    simulate: SimulateIn | None = None


class RefundSimulation(RequestBody):
    """What the simulated bank did."""

    status: Annotated[SimulatedRefund, Meta(description="completed, failed or attention.")]


def asked_items(invoice: Invoice, data: InvoiceRefundCreate | RefundCreate) -> list[AskedItem]:
    """In our numbers; `TolemError` (invalid_request) names every line that this invoice has not or not so."""
    if data.items is None:
        return []
    wrong = [error for index, item in enumerate(data.items) for error in _wrong_item(invoice, index, item)]
    if data.amount is not None:
        message = "Give amount or items: items say themselves what they come to."
        wrong += [FieldError("amount", "invalid", message), FieldError("items", "invalid", message)]
    if wrong:
        raise invalid(*wrong)
    return [
        AskedItem(
            position=item.position,
            count_milli=None if item.count is None else parse_count(item.count),
            amount=None if item.amount is None else fields.checked_amount(item.amount),
        )
        for item in data.items
    ]


def _wrong_item(invoice: Invoice, index: int, item: RefundItem) -> list[FieldError]:
    if item.position > len(invoice.items):
        return [FieldError(f"items.{index}.position", "not_found", "The invoice has no such line.")]
    if item.count is not None and item.amount is not None:
        message = "Give count or amount."
        names = (f"items.{index}.count", f"items.{index}.amount")
        return [FieldError(name, "invalid", message) for name in names]
    if item.count is not None:
        unit = invoice.items[item.position - 1].unit
        try:
            check_count(parse_count(item.count), unit)
        except BadCount as bad:
            text = str(bad)
            return [FieldError(f"items.{index}.count", "invalid", f"{text[:1].upper()}{text[1:]}.")]
    return []
