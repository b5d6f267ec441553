"""The claim: who may call the bank."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from db.engine import as_merchant
from db.errors import IssueWindowMissed
from domain.invoice import Kind, State
from domain.merchant import Mode
from tests.db.books import Books, Shop, at_once, waiting_for_a_lock


async def test_thirty_callers_at_once_get_one_claim(books: Books, shop: Shop) -> None:
    order = shop.order(idempotency_key="order 7")
    openings = await at_once(30, lambda _: books.ledger.open_invoice(order))
    assert sum(opening.claimed for opening in openings) == 1
    assert {opening.invoice.number for opening in openings} == {1}
    assert {opening.invoice.state for opening in openings} == {State.PROCESSING}
    counted = await books.fetch("select count(*) from invoices where merchant_id = :id", id=shop.id)
    assert counted == [{"count": 1}]


async def test_a_claim_whose_commit_was_in_doubt_is_known_again_by_its_token(books: Books, shop: Shop) -> None:
    order = shop.order()
    assert (await books.ledger.open_invoice(order, "mine")).claimed
    assert (await books.ledger.open_invoice(order, "mine")).claimed
    assert not (await books.ledger.open_invoice(order, "another's")).claimed
    assert not (await books.ledger.open_invoice(order)).claimed
    assert (await shop.invoice(order.invoice_id)).number == 1


async def test_the_numbers_of_a_merchant_have_neither_gaps_nor_twins(books: Books, shop: Shop) -> None:
    other = await books.merchant()
    orders = [owner.order() for owner in (shop, other) for _ in range(25)]
    too_late = [shop.order(issue_before=datetime.now(UTC) - timedelta(seconds=1)) for _ in range(10)]
    mixed = [order for pair in zip(orders, [*too_late, *orders[10:]], strict=False) for order in pair]

    async def ask(number: int) -> None:
        with suppress(IssueWindowMissed):
            await books.ledger.open_invoice(mixed[number])

    await at_once(len(mixed), ask)
    for owner in (shop, other):
        numbers = await books.fetch("select number from invoices where merchant_id = :id order by number", id=owner.id)
        assert [row["number"] for row in numbers] == list(range(1, 26))


async def test_a_bill_asked_for_too_late_leaves_no_row_and_takes_no_number(books: Books, shop: Shop) -> None:
    order = shop.order(issue_before=datetime.now(UTC) - timedelta(milliseconds=1), idempotency_key="late")
    with pytest.raises(IssueWindowMissed):
        await books.ledger.open_invoice(order)
    assert await books.reads.invoice(shop.id, order.invoice_id) is None
    assert await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "late") is None
    assert (await books.ledger.open_invoice(shop.order())).invoice.number == 1


async def test_a_late_second_call_finds_the_first_row_and_may_not_call_the_bank(books: Books, shop: Shop) -> None:
    order = await shop.opened()
    late = shop.order(invoice_id=order.invoice_id, issue_before=datetime.now(UTC) - timedelta(hours=1))
    opening = await books.ledger.open_invoice(late)
    assert (opening.claimed, opening.invoice.number) == (False, 1)


async def test_the_final_word_waits_for_a_claim_in_flight_and_sees_it(books: Books, shop: Shop) -> None:
    order = shop.order()
    # The merchant's row is held, so the claim stands in the middle of its transaction.
    async with as_merchant(books.app, shop.id) as holder:
        await holder.execute(text("select 1 from merchants where id = :id for update"), {"id": shop.id})
        claim = asyncio.create_task(books.ledger.open_invoice(order))
        await waiting_for_a_lock(books, "last_invoice_number")
        word = asyncio.create_task(books.reads.final_word(shop.id, order.invoice_id))
        await waiting_for_a_lock(books, "pg_advisory_xact_lock")
        assert not word.done()
        assert await books.reads.created(shop.id, order.invoice_id) is None
    assert (await claim).claimed
    created = await word
    assert created is not None
    assert created.invoice.id == order.invoice_id


async def test_a_claim_that_waited_past_its_window_is_too_late(books: Books, shop: Shop) -> None:
    async with as_merchant(books.app, shop.id) as holder:
        await holder.execute(text("select 1 from merchants where id = :id for update"), {"id": shop.id})
        # Time enough to begin in, and less than a lock is waited for.
        order = shop.order(issue_before=datetime.now(UTC) + timedelta(seconds=2))
        claim = asyncio.create_task(books.ledger.open_invoice(order))
        await waiting_for_a_lock(books, "last_invoice_number")
        await asyncio.sleep((order.issue_before - datetime.now(UTC)).total_seconds() + 0.05)
        # An update makes the claim judge its own condition again when it goes on.
        await holder.execute(
            text("update merchants set last_invoice_number = last_invoice_number where id = :id"), {"id": shop.id}
        )
    with pytest.raises(IssueWindowMissed):
        await claim
    assert await books.reads.final_word(shop.id, order.invoice_id) is None


async def test_an_unknown_invoice_has_no_final_word(books: Books, shop: Shop) -> None:
    assert await books.reads.final_word(shop.id, "inv_unknown") is None


async def test_a_key_names_its_bill_until_it_is_thirty_days_old(books: Books, shop: Shop) -> None:
    first = await shop.opened(Kind.QR, idempotency_key="k", fingerprint="one")
    await shop.book(first.invoice_id, "not_issued", State.FAILED)
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "k")
    assert kept is not None
    assert (kept.resource_id, kept.fingerprint) == (first.invoice_id, "one")
    assert await books.reads.kept_answer(shop.id, Mode.TEST, "invoices", "k") is None
    assert await books.reads.kept_answer(shop.id, Mode.LIVE, "qr", "k") is None

    # Another bill under a young key changes nothing about the key.
    await shop.opened(Kind.QR, idempotency_key="k", fingerprint="two")
    assert await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "k") == kept

    await books.do(
        "update idempotency_keys set created_at = now() - interval '30 days 1 second' where merchant_id = :m", m=shop.id
    )
    assert await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "k") is None
    third = await shop.opened(Kind.QR, idempotency_key="k", fingerprint="three")
    anew = await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "k")
    assert anew is not None
    assert (anew.resource_id, anew.fingerprint, anew.status, anew.body) == (third.invoice_id, "three", None, None)


async def test_a_key_is_kept_as_a_hash_only(books: Books, shop: Shop) -> None:
    await shop.opened(idempotency_key="order of +7 701 123 45 67")
    (row,) = await books.fetch("select * from idempotency_keys where merchant_id = :m", m=shop.id)
    assert len(row["key_hash"]) == 32
    # Longer than what microseconds or a hash may look like by chance.
    assert not any(part in str(row) for part in ("701 123", "701123", "order of"))
