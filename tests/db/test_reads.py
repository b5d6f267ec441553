"""Lists: the same rows by keyset and by offset, and exactly what was asked for."""
# ruff: noqa: S608 -- statements made of this file's own words

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import as_merchant, create_engine, transaction
from db.errors import DatabaseUnavailable
from db.reads import InvoiceFilter, InvoicePage, Reads
from dev.postgres import Database
from domain.invoice import Invoice, Kind, State
from tests.db.books import Books, Shop
from tests.support.nobody import deaf_port


@pytest.fixture(scope="module")
async def full(books: Books) -> tuple[Shop, list[Invoice]]:
    """A merchant with 23 bills of every sort, many of them of the same moment; newest first."""
    shop = await books.merchant()
    for number in range(23):
        kind = (Kind.PHONE, Kind.QR, Kind.LINK)[number % 3]
        invoice = await shop.pending(
            kind,
            sandbox=number % 2 == 0,
            external_order_id=f"order_{number}" if number % 4 else None,
            description=("100% скидка", "50_off", "back\\slash", "Тапсырыс")[number % 4],
        )
        if number % 5 == 0:
            await shop.book(invoice.id, "paid", State.PAID)
    # The guard keeps created_at for ever, so that only the superuser can make a tie.
    async with _superuser(books.database) as connection:
        await connection.exec_driver_sql("alter table invoices disable trigger guard_invoice")
        await connection.exec_driver_sql(
            f"update invoices set created_at = date_trunc('day', created_at) + number / 4 * interval '1 minute'"
            f" where merchant_id = '{shop.id}'"
        )
        await connection.exec_driver_sql("alter table invoices enable trigger guard_invoice")
    stranger = await books.merchant()
    await stranger.pending(description="100% скидка")
    rows = await books.fetch("select id from invoices where merchant_id = :m", m=shop.id)
    invoices = await books.reads.invoices(shop.id, [row["id"] for row in rows])
    return shop, sorted(invoices, key=lambda one: (one.created_at, one.id), reverse=True)


@asynccontextmanager
async def _superuser(database: Database) -> AsyncIterator[AsyncConnection]:
    engine = create_engine(database.url("postgres"), pool_size=1)
    async with engine.begin() as connection:
        yield connection
    await engine.dispose()


async def by_keyset(reads: Reads, merchant_id: str, limit: int, **wanted: Any) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = await reads.page(merchant_id, InvoiceFilter(limit=limit, after=after, **wanted))
        found += [one.id for one in page.items]
        if not page.has_more:
            return found
        assert len(page.items) == limit
        after = (page.items[-1].created_at, page.items[-1].id)


async def by_offset(reads: Reads, merchant_id: str, limit: int, **wanted: Any) -> list[str]:
    found: list[str] = []
    while True:
        page = await reads.page(merchant_id, InvoiceFilter(limit=limit, offset=len(found), **wanted))
        found += [one.id for one in page.items]
        if not page.has_more:
            return found


async def page(shop: Shop, **wanted: Any) -> InvoicePage:
    return await shop.books.reads.page(shop.id, InvoiceFilter(limit=100, **wanted))


FILTERS: list[dict[str, Any]] = [
    {},
    {"kinds": [Kind.QR]},
    {"states": [State.PAID]},
    {"is_sandbox": True},
    {"search": "order_1"},
]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 25), wanted=st.sampled_from(FILTERS))
async def test_keyset_and_offset_give_the_same_rows_newest_first(
    full: tuple[Shop, list[Invoice]], limit: int, wanted: dict[str, Any]
) -> None:
    shop, invoices = full
    reads = shop.books.reads
    keyset = await by_keyset(reads, shop.id, limit, **wanted)
    assert keyset == await by_offset(reads, shop.id, limit, **wanted)
    assert len(keyset) == len(set(keyset)) == (await page(shop, **wanted)).total
    if not wanted:
        assert keyset == [one.id for one in invoices]


async def test_a_new_bill_does_not_move_the_pages_of_a_keyset(books: Books, shop: Shop) -> None:
    old = [await shop.pending() for _ in range(4)]
    first = await books.reads.page(shop.id, InvoiceFilter(limit=2))
    await shop.pending()
    after = (first.items[-1].created_at, first.items[-1].id)
    second = await books.reads.page(shop.id, InvoiceFilter(limit=2, after=after))
    assert [one.id for one in first.items + second.items] == [one.id for one in reversed(old)]
    assert not second.has_more


async def test_the_total_and_has_more_are_of_the_whole_list(full: tuple[Shop, list[Invoice]]) -> None:
    shop, invoices = full
    part = await shop.books.reads.page(shop.id, InvoiceFilter(limit=5, offset=20))
    assert (len(part.items), part.total, part.has_more) == (3, len(invoices), False)
    exact = await shop.books.reads.page(shop.id, InvoiceFilter(limit=23))
    assert (len(exact.items), exact.has_more) == (23, False)
    beyond = await shop.books.reads.page(shop.id, InvoiceFilter(limit=5, offset=500))
    assert (beyond.items, beyond.total, beyond.has_more) == ([], len(invoices), False)


async def test_every_filter_keeps_exactly_what_it_names(full: tuple[Shop, list[Invoice]]) -> None:
    shop, invoices = full
    middle = invoices[11].created_at
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"states": [State.PAID, State.EXPIRED]}, lambda one: one.state is State.PAID),
        ({"states": []}, lambda one: False),
        ({"kinds": [Kind.QR, Kind.LINK]}, lambda one: one.kind is not Kind.PHONE),
        ({"is_sandbox": False}, lambda one: not one.is_sandbox),
        ({"external_order_id": "order_1"}, lambda one: one.external_order_id == "order_1"),
        ({"date_from": middle}, lambda one: one.created_at >= middle),
        ({"date_to": middle}, lambda one: one.created_at < middle),
        ({"date_from": middle, "date_to": middle + timedelta(seconds=1)}, lambda one: one.created_at == middle),
        (
            {"kinds": [Kind.PHONE], "states": [State.PENDING], "is_sandbox": True},
            lambda one: one.kind is Kind.PHONE and one.state is State.PENDING and one.is_sandbox,
        ),
    ]
    for wanted, keeps in cases:
        found = await page(shop, **wanted)
        assert [one.id for one in found.items] == [one.id for one in invoices if keeps(one)], wanted
        assert found.total == len(found.items), wanted


async def test_search_finds_ids_numbers_orders_words_and_phones(full: tuple[Shop, list[Invoice]]) -> None:
    shop, invoices = full
    one = next(one for one in invoices if one.external_order_id == "order_10")

    async def found(text: str) -> set[str]:
        return {hit.id for hit in (await page(shop, search=text)).items}

    assert await found(one.id) == {one.id}
    assert await found("ORDER_10") == {one.id}
    assert one.id in await found(str(one.number))
    assert await found("тапсырыс") == {each.id for each in invoices if each.description == "Тапсырыс"}
    assert await found("7701123") == {each.id for each in invoices if each.kind is Kind.PHONE}
    assert await found("no such thing") == set()


@pytest.mark.parametrize("wild", ["%", "_", "\\", "100%", "50_", "k\\s", "%%", "'; drop table invoices; --", "\\%"])
async def test_wildcards_and_quotes_in_a_search_are_only_characters(
    full: tuple[Shop, list[Invoice]], wild: str
) -> None:
    shop, invoices = full
    found = {one.id for one in (await page(shop, search=wild)).items}
    assert found == {
        one.id for one in invoices if any(wild in text for text in (one.description, one.external_order_id) if text)
    }


async def test_another_merchants_bills_are_in_no_list(full: tuple[Shop, list[Invoice]]) -> None:
    shop, _ = full
    found = await page(shop, search="100% скидка")
    assert {one.merchant_id for one in found.items} == {shop.id}


async def test_an_answering_database_answers_a_ping(books: Books) -> None:
    await books.reads.ping()


async def test_without_a_database_every_room_says_unavailable(postgres: Database) -> None:
    nowhere = Database(deaf_port(), postgres.name, postgres.passwords)
    away = Books(nowhere)
    ghost = Shop(away, "mer_ghost", "con_ghost")
    try:
        for call in (
            away.reads.ping(),
            away.reads.authenticate(b"x"),
            away.reads.page("mer_ghost", InvoiceFilter()),
            away.ledger.open_invoice(ghost.order()),
            ghost.book("inv_ghost", "paid", State.PAID),
            away.watches.due("mer_ghost", "con_ghost", limit=1),
            away.deliveries.due("mer_ghost", "whd_ghost"),
            away.records.sealed_connection("mer_ghost", "con_ghost"),
            away.registry.merchants(),
        ):
            with pytest.raises(DatabaseUnavailable) as caught:
                await call
            # The text reaches logs: neither the address nor a password may be in it.
            assert not any(password in str(caught.value) for password in postgres.passwords.values())
    finally:
        await away.close()


async def test_a_connection_that_dies_in_a_transaction_is_unavailable_and_the_next_one_works(
    books: Books, shop: Shop
) -> None:
    with pytest.raises(DatabaseUnavailable):
        await _killed_midway(books)
    assert (await shop.pending()).number == 1


async def _killed_midway(books: Books) -> None:
    async with transaction(books.app) as connection:
        me = (await connection.exec_driver_sql("select pg_backend_pid()")).scalar_one()
        async with books.app.connect() as other:
            await other.exec_driver_sql(f"select pg_terminate_backend({me})")
        await connection.exec_driver_sql("select 1")


async def test_a_lock_that_is_held_too_long_is_unavailable_not_a_hang(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    take = f"select 1 from invoices where id = '{invoice.id}' for update"
    async with as_merchant(books.app, shop.id) as holder:
        limits = [(await holder.exec_driver_sql(f"show {name}")).scalar_one() for name in _TIMEOUTS]
        assert limits == ["4s", "8s", "15s"]
        await holder.exec_driver_sql(take)
        with pytest.raises(DatabaseUnavailable):
            await _taken(books, shop, take)
    assert (await shop.book(invoice.id, "paid", State.PAID)).created


_TIMEOUTS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


async def _taken(books: Books, shop: Shop, take: str) -> None:
    async with as_merchant(books.app, shop.id) as connection:
        await connection.exec_driver_sql("set local lock_timeout = 20")
        await connection.exec_driver_sql(take)
