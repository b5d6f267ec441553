"""The guards of subscriptions, with our checks bypassed: plain SQL as the application's role."""

import asyncio
from typing import Any

import asyncpg
import msgspec
import pytest
from sqlalchemy import text

from db.engine import as_merchant
from db.errors import ChargeRefused
from domain.invoice import State as InvoiceState
from domain.subscription import PERIOD_TRANSITIONS, TRANSITIONS
from tests.db.books import Books, Shop, role
from tests.db.subscriptions import BookedSubscription

TABLES = ("subscriptions", "subscription_terms", "subscription_periods", "test_clocks")


async def due(shop: Shop, **changes: Any) -> BookedSubscription:
    """A subscription whose first period is being billed."""
    one = await BookedSubscription(shop, **changes).opened()
    await one.due()
    return one


async def test_the_databases_tables_of_changes_are_the_domains(books: Books) -> None:
    for table, transitions in (
        ("subscription_transitions", TRANSITIONS),
        ("subscription_period_transitions", PERIOD_TRANSITIONS),
    ):
        rows = await books.fetch(f"select old_state, new_state from {table}")  # noqa: S608 -- our own names
        known = {(row["old_state"], row["new_state"]) for row in rows}
        assert known == {(old.value, new.value) for old, news in transitions.items() for new in news}


@pytest.mark.parametrize(
    "change",
    [
        "version = version",
        "version = version + 2",
        "version = version + 1, number = number + 1000",
        "version = version + 1, phone = '77770000000'",
        "version = version + 1, is_sandbox = true",
        "version = version + 1, started_at = now()",
        "version = version + 1, sequence = -1",
        "version = version + 1, revision = 0",
        "version = version + 1, amount = 0",
        "version = version + 1, state = 'expired'",
        "version = version + 1, ended_at = now()",
        "version = version + 1, payer = '{pays}'",
        "version = version + 1, test_clock_id = 'clk_x', clock_at = now()",
        "version = version + 1, standing = '[]'",
    ],
)
async def test_what_no_decision_may_do(books: Books, shop: Shop, change: str) -> None:
    one = await due(shop)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises((asyncpg.CheckViolationError, asyncpg.ForeignKeyViolationError)):
            await connection.execute(f"update subscriptions set {change} where id = $1", one.id)  # noqa: S608
    async with role(books.database, "tolem_app", shop.id) as connection:
        fine = "update subscriptions set version = version + 1, state = 'paused' where id = $1"
        assert await connection.execute(fine, one.id) == "UPDATE 1"


async def test_an_ended_subscription_stays_ended(books: Books, shop: Shop) -> None:
    one = await due(shop)
    ends = "update subscriptions set version = version + 1, state = $2, ended_at = now() where id = $1"
    back = "update subscriptions set version = version + 1, state = 'active', ended_at = null where id = $1"
    async with role(books.database, "tolem_app", shop.id) as connection:
        assert await connection.execute(ends, one.id, "expired") == "UPDATE 1"
        assert await connection.execute(back, one.id) == "UPDATE 1"
        assert await connection.execute(ends, one.id, "canceled") == "UPDATE 1"
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(back, one.id)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("update subscription_periods set number = 9 where subscription_id = $1", asyncpg.InsufficientPrivilegeError),
        (
            "update subscription_periods set due_at = now() where subscription_id = $1",
            asyncpg.InsufficientPrivilegeError,
        ),
        ("delete from subscription_periods where subscription_id = $1", asyncpg.InsufficientPrivilegeError),
        ("update subscription_terms set amount = 1 where subscription_id = $1", asyncpg.InsufficientPrivilegeError),
        ("delete from subscriptions where id = $1", asyncpg.InsufficientPrivilegeError),
        (
            "update subscription_periods set state = 'skipped' where subscription_id = $1",
            asyncpg.CheckViolationError,  # no reason
        ),
        (
            "insert into subscription_periods (subscription_id, number, merchant_id, due_at, state, revision, updated_at)"
            " select id, 7, merchant_id, now(), 'paid', 1, now() from subscriptions where id = $1",
            asyncpg.CheckViolationError,
        ),
        (
            "insert into subscription_periods (subscription_id, number, merchant_id, due_at, state, revision, updated_at)"
            " select id, 1, merchant_id, now(), 'billing', 1, now() from subscriptions where id = $1",
            asyncpg.UniqueViolationError,
        ),
    ],
)
async def test_what_never_happens_to_periods_and_terms(
    books: Books, shop: Shop, statement: str, error: type[Exception]
) -> None:
    one = await due(shop)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(error):
            await connection.execute(statement, one.id)


async def test_a_paid_period_stays_paid(books: Books, shop: Shop) -> None:
    one = await due(shop)
    async with role(books.database, "tolem_app", shop.id) as connection:
        change = "update subscription_periods set state = $2, reason = $3 where subscription_id = $1"
        assert await connection.execute(change, one.id, "skipped", "outage") == "UPDATE 1"
        assert await connection.execute(change, one.id, "paid", None) == "UPDATE 1"
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(change, one.id, "failed", None)


async def test_a_period_has_one_live_charge(books: Books, shop: Shop) -> None:
    one = await due(shop)
    first = await one.out(1, 1)
    with pytest.raises(ChargeRefused):
        await one.out(1, 2)
    await shop.book(first, "expired", InvoiceState.EXPIRED)
    second = await one.out(1, 2)
    # Late money of the closed one stays bookable while the other is out.
    assert (await shop.book(first, "paid", InvoiceState.PAID)).state is InvoiceState.PAID
    assert (await shop.invoice(second)).state is InvoiceState.PENDING


async def test_of_two_concurrent_charges_one_is_refused(books: Books, shop: Shop) -> None:
    one = await due(shop)
    orders = [await one.charge(1, number) for number in (1, 2, 3, 4)]

    async def claim(number: int) -> bool:
        try:
            return (await books.ledger.open_invoice(orders[number])).claimed
        except ChargeRefused:
            return False

    assert sum(await asyncio.gather(*(claim(number) for number in range(4)))) == 1


async def test_plain_sql_cannot_make_a_second_live_charge(books: Books, shop: Shop) -> None:
    one = await due(shop)
    invoice_id = await one.out(1, 1)
    again = (
        "insert into invoices (id, merchant_id, number, kind, is_sandbox, amount, state, phone, connection_id, request_id,"
        " claim_token, claimed_at, updated_at, subscription_id, subscription_period, subscription_charge)"
        " select 'inv_again', merchant_id, 9999, kind, is_sandbox, amount, 'processing', phone, connection_id, 'r', 't',"
        " now(), now(), subscription_id, subscription_period, 2 from invoices where id = $1"
    )
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(again, invoice_id)


async def test_a_bill_needs_a_period_that_is_being_billed(books: Books, shop: Shop) -> None:
    one = await due(shop)
    unborn = await one.charge(2, 1)
    with pytest.raises(ChargeRefused):
        await books.ledger.open_invoice(unborn)
    order = await one.charge(1, 1)
    async with as_merchant(books.app, shop.id) as connection:
        skip = "update subscription_periods set state = 'skipped', reason = 'merchant' where subscription_id = :id"
        await connection.execute(text(skip), {"id": one.id})
    with pytest.raises(ChargeRefused):
        await books.ledger.open_invoice(order)


async def test_a_bill_stays_its_subscriptions(books: Books, shop: Shop) -> None:
    one = await due(shop)
    invoice_id = await one.out()
    for change in ("subscription_id = null, subscription_period = null, subscription_charge = null",
                   "subscription_charge = 5"):  # fmt: skip
        async with role(books.database, "tolem_app", shop.id) as connection:
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(f"update invoices set {change} where id = $1", invoice_id)  # noqa: S608


async def test_another_merchants_subscription_is_billed_by_nobody(books: Books, shop: Shop) -> None:
    one = await due(shop)
    stranger = await books.merchant()
    order = await one.charge()
    stolen = msgspec.structs.replace(
        order, merchant_id=stranger.id, connection_id=stranger.connection_id, invoice_id="inv_stolen"
    )
    with pytest.raises(ChargeRefused):
        await books.ledger.open_invoice(stolen)


@pytest.mark.parametrize("table", TABLES)
async def test_a_merchant_sees_and_writes_only_his_own(books: Books, shop: Shop, table: str) -> None:
    await due(shop)
    await books.fetch("select 1")
    stranger = await books.merchant()
    for merchant, seen in ((shop.id, table != "test_clocks"), (stranger.id, False), (None, False)):
        async with role(books.database, "tolem_app", merchant) as connection:
            assert bool(await connection.fetchval(f"select count(*) from {table}")) is seen  # noqa: S608
    async with role(books.database, "tolem_app", stranger.id) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "insert into test_clocks (id, merchant_id, name, now_at, updated_at) values ('clk_x', $1, 'x', now(), now())",
                shop.id,
            )


async def test_a_live_subscription_has_no_test_clock(books: Books, shop: Shop) -> None:
    clock = "insert into test_clocks (id, merchant_id, name, now_at, updated_at) values ($1, $2, 'c', now(), now())"
    one = await due(shop)
    copy = (
        "insert into subscriptions (id, merchant_id, number, is_sandbox, state, phone, amount, revision, period,"
        " billing_time, started_at, bill_immediately, max_retry_attempts, retry_interval_hours, grace_period_days,"
        " missed, test_clock_id, clock_at, standing, request_id, updated_at)"
        " select 'sub_copy', merchant_id, 999, $2, 'active', phone, amount, 1, period, billing_time, started_at,"
        " bill_immediately, 3, 24, 3, missed, $3, now(), standing, 'r', now() from subscriptions where id = $1"
    )
    async with role(books.database, "tolem_app", shop.id) as connection:
        await connection.execute(clock, "clk_mine", shop.id)
        inner = connection.transaction()
        await inner.start()
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(copy, one.id, False, "clk_mine")
        await inner.rollback()
        assert await connection.execute(copy, one.id, True, "clk_mine") == "INSERT 0 1"


async def test_a_test_clock_never_goes_back(books: Books, shop: Shop) -> None:
    async with role(books.database, "tolem_app", shop.id) as connection:
        await connection.execute(
            "insert into test_clocks (id, merchant_id, name, now_at, updated_at) values ('clk_m', $1, 'c', now(), now())",
            shop.id,
        )
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("update test_clocks set now_at = now_at - interval '1 second'")
