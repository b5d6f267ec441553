"""The database's own guards, with our checks bypassed: plain SQL as the application's role."""
# ruff: noqa: S608 -- statements made of this file's own words

import itertools
from typing import Any

import asyncpg
import pytest

from domain.invoice import OPEN, TRANSITIONS, Invoice, Kind, State, can_become
from domain.money import MAX_TIYN, MIN_TIYN
from tests.db.books import Books, Shop, role

PAIRS = [pair for pair in itertools.product(State, State) if pair[0] is not pair[1]]
MONEY_IN = (State.PAID, State.PARTIALLY_REFUNDED, State.REFUNDED)


async def test_the_databases_table_of_changes_is_the_domains(books: Books) -> None:
    rows = await books.fetch("select old_state, new_state from invoice_transitions")
    known = {(row["old_state"], row["new_state"]) for row in rows}
    assert known == {(old.value, new.value) for old, news in TRANSITIONS.items() for new in news}


async def _in_state(shop: Shop, state: State) -> Invoice:
    if state in MONEY_IN:
        invoice = await shop.paid(Kind.PHONE)
        if state is not State.PAID:
            await shop.refund(invoice, None if state is State.REFUNDED else 1)
    else:
        invoice = await shop.pending()
        if state is not State.PENDING:
            await shop.book(invoice.id, state, state)
    return await shop.invoice(invoice.id)


async def _changed(connection: Any, invoice: Invoice, new: State) -> str:
    """Into the state by plain SQL, with what belongs to it; a refund's state needs a refund."""
    if new in {State.PARTIALLY_REFUNDED, State.REFUNDED}:
        done = await connection.execute(
            "insert into refunds (id, merchant_id, number, invoice_id, position, is_sandbox, amount, state,"
            " connection_id, bank_payment_id, simulate, request_id, updated_at)"
            " select 'ref_' || id, merchant_id, 999, id, 999, is_sandbox, $2, 'pending', connection_id,"
            " bank_payment_id, 'completed', 'r', now() from invoices where id = $1",
            invoice.id,
            1 if new is State.PARTIALLY_REFUNDED else invoice.amount - invoice.refunded,
        )
        assert done == "INSERT 0 1"
        for state, completed in (("processing", "null"), ("completed", "now()")):
            change = f"update refunds set state = '{state}', completed_at = {completed} where position = 999"
            assert await connection.execute(f"{change} and invoice_id = $1", invoice.id) == "UPDATE 1"
    changed: str = await connection.execute(
        "update invoices set state = $2, paid_at = case when $3 then coalesce(paid_at, now()) end, refunded ="
        " (select coalesce(sum(amount), 0) from refunds where invoice_id = $1 and state = 'completed') where id = $1",
        invoice.id,
        new.value,
        new in MONEY_IN,
    )
    return changed


async def test_plain_sql_can_make_the_legal_changes_and_no_other(books: Books, shop: Shop) -> None:
    invoices = {state: await _in_state(shop, state) for state in State}
    assert {state: invoice.state for state, invoice in invoices.items()} == {state: state for state in State}
    for old, new in PAIRS:
        async with role(books.database, "tolem_app", shop.id) as connection:
            change = _changed(connection, invoices[old], new)
            if can_become(old, new):
                assert await change == "UPDATE 1", (old, new)
            else:
                with pytest.raises(asyncpg.CheckViolationError):
                    await change


@pytest.mark.parametrize(
    "change",
    [
        "amount = amount + 1",
        "connection_id = null, is_sandbox = true",
        "connection_id = 'con_other'",
        "number = number + 1000",
        "kind = 'qr', phone = null",
        "is_sandbox = true",
        "created_at = now() + interval '1 second'",
        "id = 'inv_other'",
        "bank_payment_id = bank_payment_id + 1",
        "bank_payment_id = null",
        "sequence = sequence - 1",
        "paid_at = now() + interval '1 second'",
        "paid_at = null",
    ],
)
async def test_the_identity_of_a_paid_bill_never_changes(books: Books, shop: Shop, change: str) -> None:
    invoice = await _in_state(shop, State.PAID)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(f"update invoices set {change} where id = $1", invoice.id)
    async with role(books.database, "tolem_app", shop.id) as connection:
        assert await connection.execute("update invoices set description = 'x' where id = $1", invoice.id) == "UPDATE 1"


async def test_one_bank_payment_belongs_to_one_invoice(books: Books, shop: Shop) -> None:
    first, second = await shop.pending(), await shop.opened()
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(asyncpg.UniqueViolationError, match="bank_payment_id"):
            await connection.execute(
                "update invoices set bank_payment_id = $2 where id = $1", second.invoice_id, first.bank_payment_id
            )


@pytest.mark.parametrize("state", State)
async def test_a_bill_is_paid_exactly_when_it_has_the_time_of_its_payment(
    books: Books, shop: Shop, state: State
) -> None:
    order = await shop.opened()
    wrong = "now()" if state in {State.PENDING, State.CANCELED, State.EXPIRED, State.FAILED} else "null"
    change = "paid_at = now()" if state is State.PROCESSING else f"state = '{state}', paid_at = {wrong}"
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(f"update invoices set {change} where id = $1", order.invoice_id)


INSERT = (
    "insert into invoices (id, merchant_id, number, kind, is_sandbox, amount, state, phone, connection_id,"
    " request_id, claim_token, claimed_at, updated_at) values ('inv_x', $1, {number}, '{kind}', {sandbox}, {amount},"
    " '{state}', {phone}, {connection}, 'r', 't', now(), now())"
)
FINE: dict[str, object] = {
    "number": 99,
    "kind": Kind.QR.value,
    "sandbox": "true",
    "amount": 100,
    "state": "processing",
    "phone": "null",
    "connection": "null",
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": MIN_TIYN - 1},
        {"amount": MAX_TIYN + 1},
        {"amount": -100},
        {"kind": "cheque"},
        {"state": "stolen"},
        {"state": "paid"},
        {"kind": "phone"},
        {"phone": "'77011234567'"},
        {"sandbox": "false"},
    ],
    ids=str,
)
async def test_a_bill_that_makes_no_sense_is_not_stored(books: Books, shop: Shop, wrong: dict[str, object]) -> None:
    async with role(books.database, "tolem_app", shop.id) as connection:
        assert await connection.execute(INSERT.format(**FINE), shop.id) == "INSERT 0 1"
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(INSERT.format(**(FINE | wrong)), shop.id)


async def test_a_merchants_numbers_are_unique(books: Books, shop: Shop) -> None:
    await shop.opened()
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(asyncpg.UniqueViolationError, match="number"):
            await connection.execute(INSERT.format(**(FINE | {"number": 1})), shop.id)


async def test_a_bill_of_money_needs_a_connection_that_exists(books: Books, shop: Shop) -> None:
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute(INSERT.format(**(FINE | {"connection": "'con_none'"})), shop.id)


async def test_a_merchant_has_one_connection_in_use(books: Books, shop: Shop) -> None:
    newer = await books.connection(shop.id)
    used = await books.fetch("select id, active from connections where merchant_id = :m order by active", m=shop.id)
    assert used == [{"id": shop.connection_id, "active": 0}, {"id": newer, "active": 1}]
    async with role(books.database, "tolem_operator") as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("update connections set active = 1 where merchant_id = $1", shop.id)


def test_open_states_are_those_that_can_still_close() -> None:
    assert {state for state in State if can_become(state, State.EXPIRED)} == OPEN
