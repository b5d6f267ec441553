"""Invoices with a cart in the books: the snapshot, and refunds by line."""

from decimal import Decimal

import pytest

from db.catalog import Catalog, ItemChanges
from db.errors import RefundRefused
from domain.cart import AskedItem, RefundItem
from domain.errors import Code
from domain.invoice import Invoice, State
from domain.refund import RefundState
from tests.db.books import Books, Shop, at_once
from tests.db.carts import asker, cart, new, of, paid_cart, stocked

TEN = Decimal("10.00")


async def test_an_invoice_keeps_what_was_sold_whatever_the_catalog_says_later(books: Books, shop: Shop) -> None:
    (apples,) = await stocked(shop, new("Яблоки", price=3333))
    sold = cart((3333, 1000), (3333, 1000), (3333, 1000), discount=TEN, item=apples)
    opening = await books.ledger.open_invoice(order := shop.order(**of(sold, TEN)))
    assert opening.claimed
    assert opening.invoice.items == sold.items
    before = await shop.invoice(order.invoice_id)
    assert (before.amount, before.discount_percentage, before.items) == (8999, TEN, sold.items)
    catalog = Catalog(books.app)
    assert await catalog.change(asker(shop), apples.id, ItemChanges(price=1, name="Груши"))
    assert await catalog.change(asker(shop), apples.id, ItemChanges(archived=True))
    assert await shop.invoice(order.invoice_id) == before
    again = await books.ledger.open_invoice(order)
    assert (again.claimed, again.invoice) == (False, before)


async def test_every_way_to_read_an_invoice_shows_its_lines(books: Books, shop: Shop) -> None:
    invoice = await paid_cart(shop, (100, 2000), (50, 1500), discount=TEN)
    plain = await shop.paid()
    assert (plain.items, plain.discount_percentage) == ([], None)
    (event,) = await shop.events(invoice.id)
    assert b'"position":2' in event["object"]
    assert len(invoice.items) == 2
    read = {one.id: one for one in await books.reads.invoices(shop.id, [invoice.id, plain.id])}
    assert read == {invoice.id: invoice, plain.id: plain}
    inspected = await books.inspection.invoice(invoice.id)
    assert inspected is not None
    assert inspected.invoice == invoice


async def test_a_claim_that_came_twice_has_its_lines_once(books: Books, shop: Shop) -> None:
    order = shop.order(**of(cart((100, 1000), (200, 1000))))
    openings = await at_once(5, lambda _: books.ledger.open_invoice(order))
    assert sorted(one.claimed for one in openings) == [False] * 4 + [True]
    rows = await books.fetch("select position, amount from invoice_items where invoice_id = :id", id=order.invoice_id)
    assert sorted(row["amount"] for row in rows) == [100, 200]


async def refused(shop: Shop, invoice: Invoice, *items: AskedItem) -> RefundRefused:
    with pytest.raises(RefundRefused) as caught:
        await shop.books.refunds.open(shop.refund_order(invoice, items=list(items)))
    return caught.value


async def test_lines_go_back_by_count_by_money_and_to_the_end(shop: Shop) -> None:
    invoice = await paid_cart(shop, (1000, 3000), (500, 1000), discount=TEN)
    assert [item.amount for item in invoice.items] == [2700, 450]
    first = await shop.refund(invoice, items=[AskedItem(position=1, count_milli=1000)])
    assert (first.amount, first.items) == (900, [RefundItem(position=1, amount=900, count_milli=1000)])
    both = await shop.refund(invoice, items=[AskedItem(position=2, amount=50), AskedItem(position=1, amount=100)])
    assert (both.amount, both.items) == (150, [RefundItem(position=1, amount=100), RefundItem(position=2, amount=50)])
    rest = await shop.refund(invoice, items=[AskedItem(position=1), AskedItem(position=2)])
    assert rest.items == [
        RefundItem(position=1, amount=1700, count_milli=2000),
        RefundItem(position=2, amount=400, count_milli=1000),
    ]
    after = await shop.invoice(invoice.id)
    assert (after.state, after.refunded) == (State.REFUNDED, invoice.amount)


async def test_no_more_goes_back_of_a_line_than_was_paid_for_it(shop: Shop) -> None:
    invoice = await paid_cart(shop, (1000, 3000), (500, 1000))
    waiting = await shop.refund(invoice, items=[AskedItem(position=1, amount=2900)], to=RefundState.PENDING)
    for asked in (
        AskedItem(position=1, amount=101),
        AskedItem(position=1, count_milli=3001),
    ):
        error = await refused(shop, invoice, asked)
        assert (error.code, error.available, error.position) == (Code.REFUND_ITEM_EXCEEDS_AVAILABLE, 100, 1)
    assert (await refused(shop, invoice, AskedItem(position=3))).code is Code.NOT_FOUND
    assert (await shop.invoice(invoice.id)).refund_pending == waiting.amount


async def test_a_refund_that_failed_gives_its_line_back(shop: Shop) -> None:
    invoice = await paid_cart(shop, (1000, 1000), (500, 1000))
    await shop.refund(invoice, items=[AskedItem(position=1)], to=RefundState.FAILED)
    again = await shop.refund(invoice, items=[AskedItem(position=1)])
    assert again.amount == 1000


async def test_what_went_back_without_a_line_bounds_the_lines_too(shop: Shop) -> None:
    invoice = await paid_cart(shop, (1000, 1000), (500, 1000))
    await shop.refund(invoice, 1200)
    error = await refused(shop, invoice, AskedItem(position=1))
    assert (error.code, error.available) == (Code.REFUND_EXCEEDS_AVAILABLE, 300)
    assert (await shop.refund(invoice, items=[AskedItem(position=1, amount=300)])).amount == 300


async def test_of_many_at_once_no_more_than_the_line_has(shop: Shop) -> None:
    invoice = await paid_cart(shop, (1000, 3000), (90_000, 1000))

    async def ask(_: int) -> int:
        try:
            order = shop.refund_order(invoice, items=[AskedItem(position=1, count_milli=1000)])
            return (await shop.books.refunds.open(order)).amount
        except RefundRefused as error:
            assert error.code is Code.REFUND_ITEM_EXCEEDS_AVAILABLE  # noqa: PT017 -- what else it may be is the test
            return 0

    made = await at_once(8, ask)
    assert sorted(made) == [0] * 5 + [1000] * 3


async def test_a_refund_repeated_has_its_lines_once(shop: Shop) -> None:
    invoice = await paid_cart(shop, (1000, 1000), (500, 1000))
    order = shop.refund_order(invoice, items=[AskedItem(position=2)])
    assert (await shop.books.refunds.open(order)).created
    assert not (await shop.books.refunds.open(order)).created
    assert (await shop.refund_of(order.refund_id)).items == [RefundItem(position=2, amount=500, count_milli=1000)]
