"""The database's own guards over refunds, with our checks bypassed: plain SQL as the application's role."""
# ruff: noqa: S608 -- statements made of this file's own words

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from domain.invoice import Invoice, State
from domain.money import MAX_TIYN, MIN_TIYN
from domain.refund import REFUND_TRANSITIONS, Refund, RefundState, refund_can_become
from tests.db.books import Books, Shop, role, waiting_for_a_lock

CHECK = asyncpg.CheckViolationError
REFUSED = asyncpg.InsufficientPrivilegeError
PAID = 1_000
PAIRS = [pair for pair in itertools.product(RefundState, RefundState) if pair[0] is not pair[1]]

INSERT = (
    "insert into refunds (id, merchant_id, number, invoice_id, position, is_sandbox, amount, state, connection_id,"
    " bank_payment_id, simulate, request_id, updated_at, completed_at, sequence) values ($1, $2, $3, $4, $5, $6, $7,"
    " $8, $9, $10, $11, 'r', now(), $12, $13)"
)
RESERVE = "update invoices set refund_pending = refund_pending + $2 where id = $1"
BACK = "update invoices set {} where id = $1"


async def insert(connection: Any, invoice: Invoice, reserved: int = 100, **wrong: Any) -> None:
    """A refund as the ledger would insert it, but for what is `wrong`; its position is free."""
    place = await connection.fetchval("select 1 + count(*) from refunds where invoice_id = $1", invoice.id)
    row: dict[str, object] = {
        "id": f"ref_{invoice.id}_{place}",
        "merchant_id": invoice.merchant_id,
        "number": invoice.number * 1000 + place,
        "invoice_id": invoice.id,
        "position": place,
        "is_sandbox": invoice.is_sandbox,
        "amount": reserved,
        "state": "pending",
        "connection_id": invoice.connection_id,
        "bank_payment_id": invoice.bank_payment_id,
        "simulate": "completed",
        "completed_at": None,
        "sequence": 0,
    }
    await connection.execute(INSERT, *(row | wrong).values())


@asynccontextmanager
async def app(books: Books, merchant_id: str) -> AsyncIterator[Any]:
    """The application's role without a transaction: each `async with connection.transaction()` really commits."""
    connection = await asyncpg.connect(books.database.dsn("tolem_app"))
    try:
        await connection.execute("select set_config('app.merchant', $1, false)", merchant_id)
        yield connection
    finally:
        await connection.close()


async def refund_in(shop: Shop, state: RefundState) -> Refund:
    return await shop.refund(await shop.paid(amount=PAID), 400, to=state)


async def test_the_databases_table_of_changes_is_the_domains(books: Books) -> None:
    rows = await books.fetch("select old_state, new_state from refund_transitions")
    known = {(row["old_state"], row["new_state"]) for row in rows}
    assert known == {(old.value, new.value) for old, news in REFUND_TRANSITIONS.items() for new in news}


async def test_plain_sql_can_make_the_legal_changes_and_no_other(books: Books, shop: Shop) -> None:
    refunds = {state: await refund_in(shop, state) for state in RefundState}
    for old, new in PAIRS:
        async with role(books.database, "tolem_app", shop.id) as connection:
            change = connection.execute(
                "update refunds set state = $2, completed_at = case when $3 then now() end where id = $1",
                refunds[old].id,
                new.value,
                new is RefundState.COMPLETED,
            )
            if refund_can_become(old, new):
                assert await change == "UPDATE 1", (old, new)
            else:
                with pytest.raises(CHECK):
                    await change


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": MIN_TIYN - 1},
        {"amount": -1},
        {"amount": MAX_TIYN + 1},
        {"state": "processing"},
        {"state": "failed"},
        {"state": "stolen"},
        {"sequence": 1},
        {"is_sandbox": True},
        {"connection_id": None},
        {"bank_payment_id": None},
        {"bank_payment_id": 1},
        {"simulate": "whatever"},
    ],
    ids=str,
)
async def test_a_refund_that_makes_no_sense_is_not_stored(books: Books, shop: Shop, wrong: dict[str, Any]) -> None:
    invoice = await shop.paid(amount=PAID)
    async with role(books.database, "tolem_app", shop.id) as connection:
        await insert(connection, invoice)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK):
            await insert(connection, invoice, **wrong)


async def test_a_refund_is_never_born_completed(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=PAID)
    async with role(books.database, "tolem_app", shop.id) as connection:
        now = await connection.fetchval("select now()")
        with pytest.raises(CHECK):
            await insert(connection, invoice, state="completed", completed_at=now)


async def test_what_was_not_paid_or_is_all_gone_has_no_refund(books: Books, shop: Shop) -> None:
    refunded = await shop.paid(amount=PAID)
    await shop.refund(refunded)
    canceled = await shop.pending()
    await shop.book(canceled.id, "canceled", State.CANCELED)
    for invoice in (await shop.pending(), canceled, refunded):
        async with role(books.database, "tolem_app", shop.id) as connection:
            with pytest.raises(CHECK, match="a paid invoice of its merchant"):
                await insert(connection, invoice)


async def test_another_merchants_invoice_is_not_refunded(books: Books, shop: Shop) -> None:
    theirs = await (await books.merchant()).paid(amount=PAID)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK):
            await insert(connection, theirs, merchant_id=shop.id)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises((REFUSED, CHECK)):
            await insert(connection, theirs)


@pytest.mark.parametrize(
    "raised",
    ["refunded = 1, state = 'partially_refunded'", f"refunded = {PAID}, state = 'refunded'", "refund_pending = 1"],
)
async def test_an_invoices_sums_are_never_raised_without_a_refund(books: Books, shop: Shop, raised: str) -> None:
    invoice = await shop.paid(amount=PAID)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK, match="must be those of its refunds"):
            await connection.execute(BACK.format(raised), invoice.id)


@pytest.mark.parametrize("to", [RefundState.PENDING, RefundState.PROCESSING, RefundState.COMPLETED])
async def test_an_invoices_sums_are_never_lowered_while_its_refunds_stand(
    books: Books, shop: Shop, to: RefundState
) -> None:
    refund = await refund_in(shop, to)
    column = "refunded" if to is RefundState.COMPLETED else "refund_pending"
    for lower in (f"{column} = {column} - 1", f"{column} = 0"):
        async with role(books.database, "tolem_app", shop.id) as connection:
            with pytest.raises(CHECK):
                await connection.execute(BACK.format(lower), refund.invoice_id)


async def test_the_word_refunded_means_that_all_of_it_is(books: Books, shop: Shop) -> None:
    partly = await shop.paid(amount=PAID)
    await shop.refund(partly, 400)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK, match="refunded_state"):
            await connection.execute(BACK.format("state = 'refunded'"), partly.id)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK):
            await connection.execute(BACK.format("state = 'paid'"), partly.id)
    whole = await shop.paid(amount=PAID)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK, match="refunded_state"):
            await connection.execute(BACK.format("state = 'partially_refunded'"), whole.id)


async def test_a_refund_that_reserves_no_money_is_refused_when_it_is_committed(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=PAID)
    async with app(books, shop.id) as connection:
        with pytest.raises(CHECK, match="must be those of its refunds"):
            async with connection.transaction():
                await insert(connection, invoice)
        assert await connection.fetchval("select count(*) from refunds where invoice_id = $1", invoice.id) == 0
        async with connection.transaction():
            await insert(connection, invoice)
            await connection.execute(RESERVE, invoice.id, 100)
        assert (await shop.invoice(invoice.id)).refund_pending == 100


async def test_leaving_the_merchants_rows_before_the_commit_hides_nothing(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=PAID)
    async with app(books, shop.id) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await insert(connection, invoice)
        await connection.execute("select set_config('app.merchant', '', true)")
        with pytest.raises(asyncpg.CheckViolationError, match="sums"):
            await transaction.commit()
    assert await books.fetch("select 1 from refunds where invoice_id = :id", id=invoice.id) == []


@pytest.mark.parametrize(
    ("to", "change"),
    [
        (RefundState.PENDING, "state = 'failed'"),
        (RefundState.PROCESSING, "state = 'failed'"),
        (RefundState.PROCESSING, "state = 'completed', completed_at = now()"),
    ],
)
async def test_a_refund_does_not_end_without_its_invoice(
    books: Books, shop: Shop, to: RefundState, change: str
) -> None:
    refund = await refund_in(shop, to)
    async with app(books, shop.id) as connection:
        with pytest.raises(CHECK, match="must be those of its refunds"):
            # Its own transaction, so that the deferred check runs at once.
            await connection.execute(f"update refunds set {change} where id = $1", refund.id)
    assert (await shop.refund_of(refund.id)).state is to


async def test_what_went_back_and_what_is_on_its_way_is_never_more_than_was_paid(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=PAID)
    await shop.refund(invoice, 400)
    await shop.refund(invoice, 500, to=RefundState.PENDING)
    async with role(books.database, "tolem_app", shop.id) as connection:
        await insert(connection, invoice, 100)
        assert await connection.execute(RESERVE, invoice.id, 100) == "UPDATE 1"
    async with role(books.database, "tolem_app", shop.id) as connection:
        await insert(connection, invoice, 101)
        with pytest.raises(CHECK, match="refund_bound"):
            await connection.execute(RESERVE, invoice.id, 101)


async def test_of_two_transactions_that_refund_at_once_only_one_fits(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=PAID)

    async def take(connection: Any, place: int) -> None:
        async with connection.transaction():
            await insert(connection, invoice, 600, id=f"ref_{invoice.id}_{place}", position=place, number=place)
            await connection.execute(RESERVE, invoice.id, 600)

    async with app(books, shop.id) as first, app(books, shop.id) as second:
        transaction = first.transaction()
        await transaction.start()
        await insert(first, invoice, 600, number=1)
        await first.execute(RESERVE, invoice.id, 600)
        other = asyncio.create_task(take(second, 2))
        await waiting_for_a_lock(books, "update invoices set refund_pending")
        await transaction.commit()
        with pytest.raises(CHECK):
            await other
    assert (await shop.invoice(invoice.id)).refund_pending == 600


async def test_sums_that_were_computed_before_another_refund_are_not_written_over_it(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=PAID)

    async def overwrite(connection: Any) -> None:
        async with connection.transaction():
            await insert(connection, invoice, 300, id=f"ref_{invoice.id}_2", position=2, number=2)
            await connection.execute("update invoices set refund_pending = 300 where id = $1", invoice.id)

    async with app(books, shop.id) as first, app(books, shop.id) as second:
        transaction = first.transaction()
        await transaction.start()
        await insert(first, invoice, 600, number=1)
        await first.execute(RESERVE, invoice.id, 600)
        other = asyncio.create_task(overwrite(second))
        await waiting_for_a_lock(books, "update invoices set refund_pending = 300")
        await transaction.commit()
        with pytest.raises(CHECK, match="must be those of its refunds"):
            await other


async def test_one_refund_of_an_invoice_is_at_the_bank_and_in_their_order(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=PAID)
    first = await shop.refund(invoice, 100, to=RefundState.PENDING)
    second = await shop.refund(invoice, 100, to=RefundState.PENDING)
    turn = "update refunds set state = 'processing' where id = $1"
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK, match="an earlier refund"):
            await connection.execute(turn, second.id)
    async with role(books.database, "tolem_app", shop.id) as connection:
        assert await connection.execute(turn, first.id) == "UPDATE 1"
        with pytest.raises(CHECK, match="an earlier refund"):
            await connection.execute(turn, second.id)
    # An earlier place cannot be slipped in below one that is at the bank already, either.
    await books.refunds.turn(shop.id, first.id)
    async with role(books.database, "tolem_app", shop.id) as connection:
        await insert(connection, invoice, 100, id="ref_zero", position=0)
        with pytest.raises(asyncpg.UniqueViolationError, match="in_flight"):
            await connection.execute(turn, "ref_zero")


async def test_two_refunds_never_have_the_same_place_or_number(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=PAID)
    refund = await shop.refund(invoice, 100, to=RefundState.PENDING)
    for wrong in ({"position": refund.position}, {"number": refund.number}):
        async with role(books.database, "tolem_app", shop.id) as connection:
            with pytest.raises(asyncpg.UniqueViolationError):
                await insert(connection, invoice, **wrong)


@pytest.mark.parametrize(
    "change",
    [
        "id = 'ref_other'",
        "number = number + 1000",
        "position = position + 1",
        "is_sandbox = true",
        "amount = amount - 1",
        "created_at = now() + interval '1 second'",
        "reason = 'another'",
        "connection_id = null",
        "bank_payment_id = bank_payment_id + 1",
        "bank_payment_id = null",
        "bank_return_id = 2",
        "bank_return_id = null",
        "completed_at = now() + interval '1 second'",
        "sequence = sequence - 1",
    ],
)
async def test_the_identity_of_a_refund_never_changes(books: Books, shop: Shop, change: str) -> None:
    refund = await refund_in(shop, RefundState.PROCESSING)
    await shop.book_refund(refund.id, "completed", RefundState.COMPLETED, bank_return_id=1)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK):
            await connection.execute(f"update refunds set {change} where id = $1", refund.id)
    async with role(books.database, "tolem_app", shop.id) as connection:
        assert await connection.execute("update refunds set bank_code = 7 where id = $1", refund.id) == "UPDATE 1"


async def test_a_refund_is_not_moved_to_another_invoice(books: Books, shop: Shop) -> None:
    refund, other = await refund_in(shop, RefundState.PENDING), await shop.paid(amount=PAID)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK, match="identity"):
            await connection.execute("update refunds set invoice_id = $2 where id = $1", refund.id, other.id)


@pytest.mark.parametrize("state", [State.PAID, State.PENDING, State.PARTIALLY_REFUNDED, State.REFUNDED, State.FAILED])
async def test_an_invoice_is_never_born_paid(books: Books, shop: Shop, state: State) -> None:
    paid_at = "now()" if state in {State.PAID, State.PARTIALLY_REFUNDED, State.REFUNDED} else "null"
    refunded = {State.REFUNDED: 100, State.PARTIALLY_REFUNDED: 1}.get(state, 0)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK, match="begins as processing"):
            await connection.execute(
                "insert into invoices (id, merchant_id, number, kind, is_sandbox, amount, state, connection_id,"
                " request_id, claim_token, claimed_at, updated_at, paid_at, refunded) values ('inv_x', $1, 99, 'qr',"
                f" true, 100, '{state}', null, 'r', 't', now(), now(), {paid_at}, {refunded})",
                shop.id,
            )
