"""The database's own guards over attempts: the right to call payment/return once, and the bank's word on it."""
# ruff: noqa: S608 -- statements made of this file's own words

import asyncpg
import pytest

from domain.refund import RefundState, ReturnOutcome
from tests.db.books import Books, Shop, role
from tests.db.test_refund_guards import CHECK, refund_in

REFUSED = asyncpg.InsufficientPrivilegeError

ATTEMPT = (
    "insert into refund_attempts (refund_id, number, merchant_id, token, available_before, intended_at)"
    " values ($1, $2, $3, 't', 1000, now())"
)


@pytest.mark.parametrize("state", sorted(set(RefundState) - {RefundState.PROCESSING}))
async def test_only_a_refund_at_its_turn_is_sent(books: Books, shop: Shop, state: RefundState) -> None:
    refund = await refund_in(shop, state)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK, match="may not be sent"):
            await connection.execute(ATTEMPT, refund.id, 1, shop.id)


@pytest.mark.parametrize("number", [-1, 0, 2, 3])
async def test_attempts_are_counted_without_a_gap(books: Books, shop: Shop, number: int) -> None:
    refund = await refund_in(shop, RefundState.PROCESSING)
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(CHECK, match="may not be sent"):
            await connection.execute(ATTEMPT, refund.id, number, shop.id)


@pytest.mark.parametrize("outcome", [None, *ReturnOutcome])
async def test_after_the_bank_said_done_nothing_is_sent_again(
    books: Books, shop: Shop, outcome: ReturnOutcome | None
) -> None:
    refund = await refund_in(shop, RefundState.PROCESSING)
    async with role(books.database, "tolem_app", shop.id) as connection:
        await connection.execute(ATTEMPT, refund.id, 1, shop.id)
        await connection.execute("update refund_attempts set outcome = $2 where refund_id = $1", refund.id, outcome)
        second = connection.execute(ATTEMPT, refund.id, 2, shop.id)
        if outcome is ReturnOutcome.DONE:
            with pytest.raises(CHECK, match="may not be sent"):
                await second
        else:
            assert await second == "INSERT 0 1"


@pytest.mark.parametrize("change", ["number = 2", "token = 'x'", "available_before = 0", "intended_at = now()"])
async def test_an_intent_once_written_cannot_be_rewritten(books: Books, shop: Shop, change: str) -> None:
    refund = await refund_in(shop, RefundState.PROCESSING)
    async with role(books.database, "tolem_app", shop.id) as connection:
        await connection.execute(ATTEMPT, refund.id, 1, shop.id)
        with pytest.raises(REFUSED):
            await connection.execute(f"update refund_attempts set {change} where refund_id = $1", refund.id)


async def test_what_the_bank_said_is_never_unsaid(books: Books, shop: Shop) -> None:
    refund = await refund_in(shop, RefundState.PROCESSING)
    say = "update refund_attempts set outcome = $2, bank_return_id = $3 where refund_id = $1"
    async with role(books.database, "tolem_app", shop.id) as connection:
        await connection.execute(ATTEMPT, refund.id, 1, shop.id)
        await connection.execute(say, refund.id, "unknown", None)
        await connection.execute(say, refund.id, "done", 5)
        with pytest.raises(CHECK, match="never changes"):
            await connection.execute(say, refund.id, "refused", None)


async def test_what_the_bank_executed_is_never_called_failed(books: Books, shop: Shop) -> None:
    refund = await refund_in(shop, RefundState.PROCESSING)
    async with role(books.database, "tolem_app", shop.id) as connection:
        await connection.execute(ATTEMPT, refund.id, 1, shop.id)
        await connection.execute("update refund_attempts set outcome = 'done' where refund_id = $1", refund.id)
        with pytest.raises(CHECK, match="has executed this refund"):
            await connection.execute("update refunds set state = 'failed' where id = $1", refund.id)


@pytest.mark.parametrize("table", ["refunds", "refund_attempts", "refund_transitions"])
async def test_the_application_deletes_no_refund_and_no_rule(books: Books, shop: Shop, table: str) -> None:
    async with role(books.database, "tolem_app", shop.id) as connection:
        with pytest.raises(REFUSED):
            await connection.execute(f"delete from {table}")
    async with role(books.database, "tolem_operator") as connection:
        with pytest.raises(REFUSED):
            await connection.execute(f"update {table} set {'old_state' if 'trans' in table else 'merchant_id'} = 'x'")


async def test_an_attempt_belongs_to_the_refunds_merchant(books: Books, shop: Shop) -> None:
    refund, other = await refund_in(shop, RefundState.PROCESSING), await books.merchant()
    async with role(books.database, "tolem_app", other.id) as connection:
        with pytest.raises(CHECK, match="may not be sent"):
            await connection.execute(ATTEMPT, refund.id, 1, other.id)
    async with role(books.database, "tolem_app", other.id) as connection:
        assert await connection.fetch("select 1 from refunds where id = $1", refund.id) == []
        assert await connection.execute("update refunds set bank_code = 1 where id = $1", refund.id) == "UPDATE 0"
