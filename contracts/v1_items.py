"""The lines of carts, for everything that has one."""

from contracts.v1_json import InvoiceItemJson
from domain.cart import InvoiceItem
from domain.catalog import format_count
from domain.money import format_amount


def sold(item: InvoiceItem) -> InvoiceItemJson:
    """A line as it was sold."""
    return InvoiceItemJson(
        position=item.position,
        catalog_item_id=item.catalog_item_id,
        name=item.name,
        unit=item.unit,
        count=format_count(item.count_milli),
        price=format_amount(item.price),
        price_overridden=item.price_overridden,
        sum=format_amount(item.sum),
        amount=format_amount(item.amount),
    )
