"""Carts as they were asked for, and the exact lines they become at today's prices."""

from decimal import Decimal

import msgspec

from api.services import Services
from api.wrong_values import wrong_value
from domain.cart import BadCart, CartLine, PricedCart, price_cart
from domain.catalog import BadCount, CatalogItem, check_count
from domain.errors import Code, FieldError, TolemError, invalid
from domain.money import format_amount


class AskedLine(msgspec.Struct, frozen=True):
    """One line as it was asked for; `price` in tiyn, None for the catalog's."""

    catalog_item_id: str
    count_milli: int
    price: int | None


class AskedCart(msgspec.Struct, frozen=True):
    """A cart as it was asked for, in our numbers: what an idempotency key stands for, whatever prices are later."""

    lines: list[AskedLine]
    discount: Decimal | None


async def priced(
    services: Services, merchant_id: str, cart: AskedCart, *, is_sandbox: bool, amount: int | None
) -> PricedCart:
    """The cart at today's prices. `TolemError`: invalid_request names every wrong line; cart_amount_mismatch where the
    request's own `amount` (tiyn) is another.
    """
    ids = list({line.catalog_item_id for line in cart.lines})
    known = await services.catalog.for_sale(merchant_id, ids, is_sandbox=is_sandbox)
    wrong = [error for index, line in enumerate(cart.lines) for error in _wrong_line(index, line, known)]
    if wrong:
        raise invalid(*wrong)
    try:
        sold = price_cart([_line(line, known[line.catalog_item_id]) for line in cart.lines], cart.discount)
    except BadCart as bad:
        raise invalid(_bad_cart(bad, discounted=cart.discount is not None)) from bad
    if amount is not None and amount != sold.amount:
        comes_to = format_amount(sold.amount)
        errors = [
            FieldError("amount", "mismatch", f"The cart comes to {comes_to}."),
            FieldError("cart_items", "mismatch", f"Come to {comes_to}, and amount says {format_amount(amount)}."),
        ]
        raise TolemError(Code.CART_AMOUNT_MISMATCH, errors=errors, details={"cart_amount": comes_to})
    return sold


def _wrong_line(index: int, line: AskedLine, known: dict[str, CatalogItem]) -> list[FieldError]:
    item = known.get(line.catalog_item_id)
    if item is None:
        return [FieldError(f"cart_items.{index}.catalog_item_id", "not_found", "There is no such item for sale.")]
    try:
        check_count(line.count_milli, item.unit)
    except BadCount as bad:
        return [wrong_value(f"cart_items.{index}.count", bad)]
    return []


def _line(line: AskedLine, item: CatalogItem) -> CartLine:
    return CartLine(
        catalog_item_id=item.id,
        name=item.name,
        unit=item.unit,
        count_milli=line.count_milli,
        price=item.price if line.price is None else line.price,
        price_overridden=line.price is not None,
    )


def _bad_cart(bad: BadCart, *, discounted: bool) -> FieldError:
    if bad.line is not None:
        return wrong_value(f"cart_items.{bad.line}", bad)
    field = "discount_percentage" if discounted and "discount" in str(bad) else "cart_items"
    return wrong_value(field, bad)
