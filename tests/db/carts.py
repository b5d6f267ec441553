"""A merchant's catalog and carts over the real books."""

from decimal import Decimal
from typing import Any

from db.catalog import Catalog, NewItem
from db.endpoints import Asker
from domain.cart import CartLine, PricedCart, price_cart
from domain.catalog import CatalogItem, Unit
from domain.invoice import Invoice
from tests.db.books import Shop


def asker(shop: Shop, *, sandbox_only: bool = False) -> Asker:
    return Asker(merchant_id=shop.id, key_id="key_1", sandbox_only=sandbox_only, request_id="req_1")


def new(name: str = "Чай", price: int = 10_000, **fields: Any) -> NewItem:
    given: dict[str, Any] = {"name": name, "price": price, "unit": Unit.PIECE, "is_sandbox": False}
    return NewItem(**(given | fields))


async def stocked(shop: Shop, *items: NewItem) -> list[CatalogItem]:
    """Items that must come to be."""
    made = await Catalog(shop.books.app).add(asker(shop), list(items))
    assert None not in made
    return [item for item in made if item is not None]


def cart(*lines: tuple[int, int], discount: Decimal | None = None, item: CatalogItem | None = None) -> PricedCart:
    """Lines of (price in tiyn, thousandths)."""
    named: dict[str, Any] = {"name": item.name if item else "Яблоки", "catalog_item_id": item.id if item else None}
    return price_cart([CartLine(unit=Unit.KILOGRAM, price=p, count_milli=c, **named) for p, c in lines], discount)


def of(sold: PricedCart, discount: Decimal | None = None) -> dict[str, Any]:
    """What an order for this cart says."""
    return {"amount": sold.amount, "items": sold.items, "discount_percentage": discount}


async def paid_cart(shop: Shop, *lines: tuple[int, int], discount: Decimal | None = None) -> Invoice:
    return await shop.paid(**of(cart(*lines, discount=discount), discount))
