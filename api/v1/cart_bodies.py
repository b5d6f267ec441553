"""Carts in requests, for every body that can have one."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta

from api.bodies import Draft, RequestBody, Rule
from api.carts import AskedCart, AskedLine
from api.v1 import fields
from domain.cart import MAX_LINES, parse_discount
from domain.catalog import parse_count
from domain.errors import FieldError

CountIn = Annotated[
    Decimal,
    Meta(
        description="A JSON number with at most three decimals; the item's unit may allow fewer.",
        examples=[2],
        extra_json_schema={"minimum": 0.001, "maximum": 1000000, "multipleOf": 0.001},
    ),
]
DiscountIn = Annotated[
    Decimal,
    Meta(
        description="Percent off the cart, a JSON number with at most two decimals. Needs `cart_items`.",
        examples=[10],
        extra_json_schema={"minimum": 0.01, "maximum": 100, "multipleOf": 0.01},
    ),
]


class CartItem(RequestBody):
    """A catalog item in a cart."""

    RULES: ClassVar[dict[str, Rule]] = {"count": parse_count, "price": fields.checked_amount}

    catalog_item_id: Annotated[str, Meta(max_length=64, examples=["cat_7v3o5y3c6d2xk4wz7h5uc5jq2m"])]
    count: CountIn
    price: Annotated[fields.AmountIn, Meta(description="Instead of the catalog's, for one unit.")] | None = None


CartIn = Annotated[
    list[CartItem],
    Meta(
        min_length=1,
        max_length=MAX_LINES,
        description="What is sold. The invoice keeps names and prices as they are now. Without `amount` it is for what"
        " they come to.",
    ),
]


def checked_cart(value: list[CartItem]) -> list[CartItem]:
    """Used as a rule: how long a cart may be."""
    if not 1 <= len(value) <= MAX_LINES:
        raise ValueError(f"must have 1 to {MAX_LINES} lines")
    return value


RULES: dict[str, Rule] = {
    "amount": fields.checked_amount,
    "cart_items": checked_cart,
    "discount_percentage": parse_discount,
}


def asked_cart(items: list[CartItem] | None, discount: Decimal | None) -> AskedCart | None:
    """Of checked fields; None without items."""
    if items is None:
        return None
    lines = [
        AskedLine(
            catalog_item_id=item.catalog_item_id,
            count_milli=parse_count(item.count),
            price=None if item.price is None else fields.checked_amount(item.price),
        )
        for item in items
    ]
    return AskedCart(lines=lines, discount=None if discount is None else parse_discount(discount))


def wrong_together(draft: Draft[Any]) -> list[FieldError]:
    """What is wrong between `amount`, `cart_items` and `discount_percentage`, where each by itself is right."""
    amount, items, discount = (draft.get(name) for name in ("amount", "cart_items", "discount_percentage"))
    found = []
    if amount is None and items is None:
        found.append(FieldError("amount", "required", "This field is required where there are no cart_items."))
    if items is None and discount is not None and discount is not UNSET:
        found.append(FieldError("discount_percentage", "invalid", "Needs cart_items: the amount is what is asked for."))
    return found
