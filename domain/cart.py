"""Carts: lines and a discount to the exact amount of an invoice, and what of a line goes back with a refund.

The one rounding rule: a product is rounded half up to the tiyn, once. A line's sum is price times count, rounded; the
invoice's amount is the sum of the lines less the discount, rounded. The amount is then shared out over the lines in
proportion to their sums, whole tiyn only: each gets its share rounded down, and the tiyn that are left go one each to
the lines with the largest remainders, of equals to the first. So the lines add up to the amount exactly.
"""

from decimal import Decimal

import msgspec

from domain.catalog import MILLI, Unit
from domain.money import MAX_TIYN

MAX_LINES = 50
# A percentage in hundredths.
_WHOLE = 10_000


class BadCart(ValueError):
    """The text is fit to show to a merchant. `line` is the wrong line's index from 0, None for the cart as a whole."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class BadDiscount(ValueError):
    """The text of the exception is fit to show to a merchant."""


class CartLine(msgspec.Struct, frozen=True, kw_only=True):
    """What is bought. `price` in tiyn for one unit, `count_milli` in thousandths of a unit."""

    name: str
    unit: Unit
    count_milli: int
    price: int
    price_overridden: bool = False
    catalog_item_id: str | None = None


class InvoiceItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line as it was sold: a snapshot that never changes.

    `position` counts from 1. `sum` is price times count, `amount` what the payer pays for the line after the discount;
    both in tiyn. A line can come to 0, where the discount leaves less than a tiyn of it.
    """

    position: int
    name: str
    unit: Unit
    count_milli: int
    price: int
    sum: int
    amount: int
    price_overridden: bool = False
    catalog_item_id: str | None = None


class PricedCart(msgspec.Struct, frozen=True, kw_only=True):
    """`amount` is the invoice's, in tiyn, and exactly the sum of the items' amounts."""

    items: list[InvoiceItem]
    subtotal: int
    amount: int


def parse_discount(value: Decimal) -> Decimal:
    """A percentage with two decimals; `BadDiscount` outside 0.01 .. 100 or with more of them."""
    if not value.is_finite():
        raise BadDiscount("must be a number")
    if not Decimal("0.01") <= value <= 100:
        raise BadDiscount("must be more than 0 and at most 100")
    exact = value.quantize(Decimal("0.01"))
    if exact != value:
        raise BadDiscount("must have at most two decimals")
    return exact


def line_sum(price: int, count_milli: int) -> int:
    """Tiyn, rounded half up."""
    return _half_up(price * count_milli, MILLI)


def price_cart(lines: list[CartLine], discount: Decimal | None = None) -> PricedCart:
    """`BadCart` for a line or an amount outside the bounds of money, or a discount that leaves nothing to pay."""
    if not 1 <= len(lines) <= MAX_LINES:
        raise BadCart(f"must have 1 to {MAX_LINES} lines")
    sums = [line_sum(line.price, line.count_milli) for line in lines]
    for index, one in enumerate(sums):
        if not 1 <= one <= MAX_TIYN:
            raise BadCart("price times count must be between 0.01 and 99999999.99 tenge", index)
    subtotal = sum(sums)
    if subtotal > MAX_TIYN:
        raise BadCart("the lines come to more than 99999999.99 tenge")
    amount = _half_up(subtotal * (_WHOLE - int((discount or Decimal(0)).scaleb(2))), _WHOLE)
    if amount == 0:
        raise BadCart("the discount leaves nothing to pay")
    items = [
        InvoiceItem(
            position=index + 1,
            name=line.name,
            unit=line.unit,
            count_milli=line.count_milli,
            price=line.price,
            sum=sums[index],
            amount=share,
            price_overridden=line.price_overridden,
            catalog_item_id=line.catalog_item_id,
        )
        for index, (line, share) in enumerate(zip(lines, shares(amount, sums), strict=True))
    ]
    return PricedCart(items=items, subtotal=subtotal, amount=amount)


def shares(amount: int, weights: list[int]) -> list[int]:
    """`amount` in whole tiyn over the weights (largest remainder, of equals the first); adds up to it exactly.

    No share is more than its weight where the amount is not more than all of them together.
    """
    total = sum(weights)
    down = [amount * weight // total for weight in weights]
    remainders = [amount * weight % total for weight in weights]
    first = sorted(range(len(weights)), key=lambda index: -remainders[index])
    for index in first[: amount - sum(down)]:
        down[index] += 1
    return down


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


class AskedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line to refund: so much of its count, or so much money (tiyn), or with neither all that is left of it."""

    position: int
    count_milli: int | None = None
    amount: int | None = None


class RefundItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a line goes back with one refund; without `count_milli` it is money only. `amount` in tiyn."""

    position: int
    amount: int
    count_milli: int | None = None


class LineStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A line with what has gone back of it or is on its way; refunds that failed don't count."""

    position: int
    count_milli: int
    amount: int
    refunded: int = 0
    refunded_milli: int = 0

    @property
    def left(self) -> int:
        """Tiyn that can still go back."""
        return self.amount - self.refunded


class ItemRefused(ValueError):
    """More than is left of a line; `left` is in tiyn."""

    def __init__(self, position: int, left: int) -> None:
        super().__init__(f"line {position} has less left")
        self.position = position
        self.left = left


def refund_of(line: LineStanding, asked: AskedItem) -> RefundItem:
    """What goes back; `ItemRefused` for more than is left, or where it would come to nothing.

    A count is worth its part of what was paid for the line: what the whole returned count is worth, rounded half up,
    less what the count returned before was worth. Whoever returns the last of the count gets all that is left, so the
    parts add up to what was paid, in any order.
    """
    if asked.count_milli is None:
        amount = line.left if asked.amount is None else asked.amount
        # Without a count and an amount the whole rest of the line goes back, and its count with it.
        count = None if asked.amount is not None else (line.count_milli - line.refunded_milli) or None
    else:
        amount, count = _worth(line, asked.count_milli), asked.count_milli
        if line.refunded_milli + asked.count_milli > line.count_milli:
            raise ItemRefused(line.position, line.left)
    if not 1 <= amount <= line.left:
        raise ItemRefused(line.position, line.left)
    return RefundItem(position=line.position, amount=amount, count_milli=count)


def _worth(line: LineStanding, count_milli: int) -> int:
    returned = line.refunded_milli + count_milli
    if returned >= line.count_milli:
        return line.left
    before = _half_up(line.amount * line.refunded_milli, line.count_milli)
    return min(line.left, _half_up(line.amount * returned, line.count_milli) - before)
