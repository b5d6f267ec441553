"""Lines of invoices and refunds as merchants read them."""

from decimal import Decimal

import msgspec

from contracts.v1 import V1
from domain.cart import InvoiceItem, RefundItem
from domain.catalog import Unit
from domain.invoice import Kind
from tests.contracts.samples import PUBLIC_URL, invoice, refund

V = V1(PUBLIC_URL)
ITEM = InvoiceItem(
    position=1,
    name="Яблоки",
    unit=Unit.KILOGRAM,
    count_milli=1500,
    price=64_000,
    sum=96_000,
    amount=86_400,
    price_overridden=True,
    catalog_item_id="cat_1",
)


def test_a_line_byte_for_byte() -> None:
    shown = {
        "position": 1,
        "catalog_item_id": "cat_1",
        "name": "Яблоки",
        "unit": "kg",
        "count": "1.5",
        "price": "640.00",
        "price_overridden": True,
        "sum": "960.00",
        "amount": "864.00",
    }
    sold = invoice(items=[ITEM], discount_percentage=Decimal("10.00"), amount=86_400)
    for answer in (V.invoice(sold), V.qr(msgspec.structs.replace(sold, kind=Kind.QR, phone=None))):
        body = msgspec.json.decode(msgspec.json.encode(answer))
        assert (body["items"], body["discount_percentage"], body["amount"]) == ([shown], "10.00", "864.00")


def test_a_refunded_line_byte_for_byte() -> None:
    items = [RefundItem(position=1, amount=100), RefundItem(position=2, amount=864, count_milli=1000)]
    body = msgspec.json.decode(msgspec.json.encode(V.refund(refund(items=items))))
    assert body["items"] == [
        {"position": 1, "count": None, "amount": "1.00"},
        {"position": 2, "count": "1", "amount": "8.64"},
    ]
