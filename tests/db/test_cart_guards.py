"""The database's own guards over carts, with our checks bypassed: plain SQL as the application's role."""
# ruff: noqa: S608 -- statements made of this file's own words

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from domain.cart import AskedItem
from domain.invoice import Invoice
from domain.refund import RefundState
from tests.db.books import Books, Shop, role, waiting_for_a_lock
from tests.db.carts import cart, new, of, paid_cart, stocked

CHECK = asyncpg.CheckViolationError
REFUSED = asyncpg.InsufficientPrivilegeError

INVOICE = (
    "insert into invoices (id, merchant_id, number, kind, is_sandbox, amount, item_count, discount_percentage, state,"
    " request_id, claim_token, claimed_at, updated_at) values ($1, $2, $3, 'qr', true, $4, $5, $6, 'processing', 'r',"
    " 't', now(), now())"
)
LINE = (
    "insert into invoice_items (invoice_id, position, merchant_id, name, unit, count_milli, price, price_overridden,"
    " sum, amount) values ($1, $2, $3, 'Чай', 'kg', $4, $5, false, $6, $7)"
)
BACK = (
    "insert into refund_items (refund_id, position, merchant_id, invoice_id, count_milli, amount)"
    " values ($1, $2, $3, $4, $5, $6)"
)
REFUND = (
    "insert into refunds (id, merchant_id, number, invoice_id, position, is_sandbox, amount, item_count, state,"
    " connection_id, bank_payment_id, simulate, request_id, updated_at) select $1, merchant_id, $2, id, $6, is_sandbox,"
    " $3, $4, 'pending', connection_id, bank_payment_id, 'completed', 'r', now() from invoices where id = $5"
)
RESERVE = "update invoices set refund_pending = refund_pending + $2 where id = $1"
_numbers = itertools.count(1_000_000)


@asynccontextmanager
async def app(books: Books, merchant_id: str) -> AsyncIterator[Any]:
    """The application's role without a transaction: each `async with connection.transaction()` really commits."""
    connection = await asyncpg.connect(books.database.dsn("tolem_app"))
    try:
        await connection.execute("select set_config('app.merchant', $1, false)", merchant_id)
        yield connection
    finally:
        await connection.close()


async def sell(
    connection: Any, shop: Shop, id_: str, *amounts: int, amount: int, lines: int, discount: Any = None, start: int = 1
) -> None:
    """An invoice that says `amount` and `lines`, with lines of these amounts."""
    await connection.execute(INVOICE, id_, shop.id, next(_numbers), amount, lines, discount)
    for position, one in enumerate(amounts, start):
        await connection.execute(LINE, id_, position, shop.id, 1000, max(one, 1), max(one, 1), one)


@pytest.mark.parametrize(
    ("amounts", "says"),
    [
        ((60, 40), {"amount": 100, "lines": 3}),
        ((60, 40), {"amount": 100, "lines": 1}),
        ((60, 40), {"amount": 100, "lines": 0}),
        ((60, 40), {"amount": 101, "lines": 2}),
        ((60, 40), {"amount": 99, "lines": 2}),
        ((60, 40), {"amount": 100, "lines": 2, "start": 2}),
        ((), {"amount": 100, "lines": 2}),
    ],
    ids=str,
)
async def test_lines_that_do_not_make_the_invoice_are_never_committed(
    books: Books, shop: Shop, amounts: tuple[int, ...], says: dict[str, Any]
) -> None:
    async with app(books, shop.id) as connection:
        async with connection.transaction():
            await sell(connection, shop, f"inv_{shop.id}_right", 60, 40, 0, amount=100, lines=3, discount="10.00")
        with pytest.raises(CHECK, match="add up"):
            async with connection.transaction():
                await sell(connection, shop, f"inv_{shop.id}_wrong", *amounts, **says)
    assert await books.fetch("select id from invoices where merchant_id = :id", id=shop.id) == [
        {"id": f"inv_{shop.id}_right"}
    ]


async def test_a_line_cannot_be_added_to_an_invoice_later(books: Books, shop: Shop) -> None:
    invoice = await shop.pending(**of(cart((100, 1000), (50, 1000))))
    plain = await shop.pending()
    async with app(books, shop.id) as connection:
        for target, position, amount in ((invoice.id, 3, 1), (invoice.id, 3, 0), (plain.id, 1, plain.amount)):
            with pytest.raises(CHECK, match="add up"):
                async with connection.transaction():
                    await connection.execute(
                        LINE, target, position, shop.id, 1000, max(amount, 1), max(amount, 1), amount
                    )


async def test_whoever_leaves_the_merchants_rows_before_the_commit_gets_nothing_past_the_guard(
    books: Books, shop: Shop
) -> None:
    async with app(books, shop.id) as connection:
        begun = connection.transaction()
        await begun.start()
        await sell(connection, shop, f"inv_{shop.id}", 100, amount=100, lines=1)
        await connection.execute("select set_config('app.merchant', 'mer_other', true)")
        with pytest.raises(CHECK, match="add up"):
            await begun.commit()


@pytest.mark.parametrize(
    "wrong",
    [
        {"count_milli": 0},
        {"count_milli": 1_000_000_001},
        {"price": 0},
        {"price": 10_000_000_000},
        {"sum": 2001},
        {"sum": 1999},
        {"amount": -1},
        {"amount": 2001},
        {"position": 0},
    ],
    ids=str,
)
async def test_a_line_that_makes_no_sense_is_not_stored(books: Books, shop: Shop, wrong: dict[str, int]) -> None:
    invoice = await shop.pending()
    row = {"position": 1, "count_milli": 2000, "price": 1000, "sum": 2000, "amount": 1500}

    async def store(connection: Any, values: dict[str, int]) -> None:
        place, *rest = values.values()
        await connection.execute(LINE, invoice.id, place, shop.id, *rest)

    async with role(books.database, "tolem_app", shop.id) as connection:
        await store(connection, row)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK):
            await store(connection, row | wrong)


async def test_a_lines_sum_is_rounded_half_up(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    for count, price, sum_ in ((500, 1, 1), (1499, 1, 1), (1500, 1, 2), (1, 9_999_999_999, 10_000_000)):
        async with role(books.database, "tolem_app", shop.id) as connection:
            await connection.execute(LINE, invoice.id, 1, shop.id, count, price, sum_, 1)
        async with role(books.database, "tolem_app", shop.id) as connection:
            with pytest.raises(CHECK):
                await connection.execute(LINE, invoice.id, 1, shop.id, count, price, sum_ - 1, 0)


@pytest.mark.parametrize("discount", ["0", "-1", "100.01"])
async def test_a_discount_out_of_bounds_is_not_stored(books: Books, shop: Shop, discount: str) -> None:
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises((CHECK, asyncpg.NumericValueOutOfRangeError)):
            await connection.execute(INVOICE, f"inv_{shop.id}", shop.id, 1, 100, 1, discount)


async def test_a_discount_without_a_cart_is_not_stored(books: Books, shop: Shop) -> None:
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK):
            await connection.execute(INVOICE, f"inv_{shop.id}", shop.id, 1, 100, 0, "10")


async def test_a_cart_never_changes(books: Books, shop: Shop) -> None:
    invoice = await paid_cart(shop, (100, 1000), (50, 1000))
    refund = await shop.refund(invoice, items=[AskedItem(position=1)])
    for change in ("item_count = 3", "item_count = 0", "discount_percentage = 5", "amount = 151"):
        async with role(books.database, "tolem_app", shop.id) as connection:
            with pytest.raises(CHECK):
                await connection.execute(f"update invoices set {change} where id = $1", invoice.id)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK):
            await connection.execute("update refunds set item_count = 0 where id = $1", refund.id)
    for statement in (
        "update invoice_items set amount = 1",
        "delete from invoice_items",
        "update refund_items set amount = 1",
        "delete from refund_items",
        "delete from catalog_items",
        "update catalog_items set is_sandbox = true",
        "update catalog_items set merchant_id = 'mer_x'",
    ):
        for name in ("tolem_app", "tolem_operator"):
            async with role(books.database, name, shop.id) as connection:
                with pytest.raises(REFUSED):
                    await connection.execute(statement)


async def give_back(
    connection: Any,
    invoice: Invoice,
    refund_id: str,
    *lines: tuple[int, int, int | None],
    amount: int,
    count: int,
    place: int = 1,
) -> None:
    """A refund that says `amount` and `count`, with these lines of (position, amount, thousandths)."""
    await begin_refund(connection, invoice, refund_id, amount=amount, count=count, place=place)
    for position, one, milli in lines:
        await connection.execute(BACK, refund_id, position, invoice.merchant_id, invoice.id, milli, one)
    await connection.execute(RESERVE, invoice.id, amount)


async def begin_refund(
    connection: Any, invoice: Invoice, refund_id: str, *, amount: int, count: int, place: int = 1
) -> None:
    number = 1_000_000 + invoice.number * 100 + place
    await connection.execute(REFUND, refund_id, number, amount, count, invoice.id, place)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (((1, 100, None),), {"amount": 101, "count": 1}),
        (((1, 100, None),), {"amount": 99, "count": 1}),
        (((1, 100, None),), {"amount": 100, "count": 2}),
        ((), {"amount": 100, "count": 1}),
    ],
    ids=str,
)
async def test_lines_that_do_not_make_the_refund_are_never_committed(
    books: Books, shop: Shop, lines: tuple[tuple[int, int, int | None], ...], says: dict[str, int]
) -> None:
    invoice = await paid_cart(shop, (1000, 3000), (500, 1000))
    async with app(books, shop.id) as connection:
        with pytest.raises(CHECK, match="add up"):
            async with connection.transaction():
                await give_back(connection, invoice, f"ref_{invoice.id}", *lines, **says)
        async with connection.transaction():
            await give_back(connection, invoice, f"ref_{invoice.id}", (1, 100, 50), (2, 7, None), amount=107, count=2)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (((1, 1001, None),), {"amount": 1001, "count": 1}),
        (((1, 1000, 1001),), {"amount": 1000, "count": 1}),
        (((2, 501, None),), {"amount": 501, "count": 1}),
        (((1, 1, None),), {"amount": 1, "count": 0}),
    ],
    ids=str,
)
async def test_no_more_of_a_line_goes_back_than_was_paid_for_it(
    books: Books, shop: Shop, lines: tuple[tuple[int, int, int | None], ...], says: dict[str, int]
) -> None:
    """Of the first line 2000 of 3000 tiyn and 2 of 3 kg are on their way; what failed does not count."""
    invoice = await paid_cart(shop, (1000, 3000), (500, 1000))
    await shop.refund(invoice, items=[AskedItem(position=1, count_milli=3000)], to=RefundState.FAILED)
    await shop.refund(invoice, items=[AskedItem(position=1, count_milli=1000)])
    await shop.refund(invoice, items=[AskedItem(position=1, count_milli=1000)], to=RefundState.PENDING)
    async with role(books.database, "tolem_app", shop.id) as connection:
        await begin_refund(connection, invoice, f"ref_{invoice.id}", place=9, **says)
        for position, one, milli in lines:
            with pytest.raises(CHECK):
                await connection.execute(BACK, f"ref_{invoice.id}", position, shop.id, invoice.id, milli, one)


async def test_a_refund_cannot_name_a_line_of_another_invoice(books: Books, shop: Shop) -> None:
    mine, other = await paid_cart(shop, (1000, 1000)), await paid_cart(shop, (1000, 1000))
    async with role(books.database, "tolem_app", shop.id) as connection:
        await begin_refund(connection, mine, f"ref_{mine.id}", amount=5, count=1)
        with pytest.raises(CHECK):
            await connection.execute(BACK, f"ref_{mine.id}", 1, shop.id, other.id, None, 5)


async def test_a_line_cannot_be_added_to_a_refund_that_has_begun(books: Books, shop: Shop) -> None:
    invoice = await paid_cart(shop, (1000, 1000), (500, 1000))
    refund = await shop.refund(invoice, items=[AskedItem(position=1, amount=10)], to=RefundState.PROCESSING)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK):
            await connection.execute(BACK, refund.id, 2, shop.id, invoice.id, None, 1)


async def test_of_two_at_once_that_do_not_both_fit_into_a_line_one_is_refused(books: Books, shop: Shop) -> None:
    invoice = await paid_cart(shop, (1000, 1000), (90_000, 1000))
    async with app(books, shop.id) as first, app(books, shop.id) as second:
        begun = first.transaction()
        await begun.start()
        await give_back(first, invoice, f"ref_{invoice.id}_1", (1, 600, None), amount=600, count=1)

        async def take() -> None:
            async with second.transaction():
                await give_back(second, invoice, f"ref_{invoice.id}_2", (1, 600, None), amount=600, count=1, place=2)

        waiting = asyncio.create_task(take())
        # The first line took the invoice's row for itself, so the second refund waits before it has any.
        await waiting_for_a_lock(books, "insert into refunds")
        await begun.commit()
        with pytest.raises(CHECK, match="no more can go back of a line"):
            await waiting
    assert (await shop.invoice(invoice.id)).refund_pending == 600


async def test_one_barcode_of_what_is_for_sale(books: Books, shop: Shop) -> None:
    await stocked(shop, new(barcode="1"), new(barcode="1", is_sandbox=True), new(barcode=None), new(barcode=None))
    insert = (
        "insert into catalog_items (id, merchant_id, is_sandbox, name, price, unit, barcode, archived_at, updated_at)"
        " values ($1, $2, false, $3, $4, 'kg', $5, $6, now())"
    )
    async with role(books.database, "tolem_app", shop.id) as connection:
        archived = await connection.fetchval("select now()")
        await connection.execute(insert, f"cat_{shop.id}", shop.id, "x", 1, "1", archived)
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(insert, f"cat_{shop.id}_2", shop.id, "x", 1, "1", None)
    for name, price in (("", 1), ("x", 0), ("x", 10_000_000_000)):
        async with role(books.database, "tolem_app", shop.id) as connection:
            with pytest.raises(CHECK):
                await connection.execute(insert, f"cat_{shop.id}", shop.id, name, price, None, None)
