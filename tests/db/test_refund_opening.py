"""Recording refunds: once, within what was paid, and never after the caller was told otherwise."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.errors import IssueWindowMissed, RefundRefused
from domain.bank import Scheme
from domain.errors import Code
from domain.invoice import Invoice, Kind, State
from domain.merchant import Mode
from domain.refund import OpenRefund, RefundState, available_for_refund
from tests.db.books import Books, Shop, at_once

PAID = 1_000


@pytest.fixture
async def paid(shop: Shop) -> Invoice:
    return await shop.paid(amount=PAID)


async def refusal(books: Books, order: OpenRefund) -> tuple[Code, int | None]:
    """Why it is refused; nothing may be written."""
    with pytest.raises(RefundRefused) as caught:
        await books.refunds.open(order)
    assert await books.refund_reads.refund(order.merchant_id, order.refund_id) is None
    assert await traces(books, order) == []
    return caught.value.code, caught.value.available


async def traces(books: Books, order: OpenRefund) -> list[dict[str, Any]]:
    """What a refund leaves beside its own row."""
    return await books.fetch(
        "select resource_id from idempotency_keys where resource_id = :id union all"
        " select object_id from audit_log where object_id = :id union all"
        " select object_id from events where object_id = :id",
        id=order.refund_id,
    )


async def test_a_refund_reserves_its_money(books: Books, shop: Shop, paid: Invoice) -> None:
    first = shop.refund_order(paid, 300, reason="Нет в наличии", request_id="req_7")
    standing = await books.refunds.open(first)
    assert (standing.created, standing.state, standing.amount) == (True, RefundState.PENDING, 300)
    assert (standing.blocked, standing.next_refund, standing.expected) == (False, None, PAID)
    assert (standing.connection_id, standing.bank_payment_id) == (shop.connection_id, paid.bank_payment_id)
    second = await books.refunds.open(shop.refund_order(paid))
    assert (second.amount, second.blocked) == (700, True)  # without an amount: all that is left
    invoice = await shop.invoice(paid.id)
    assert (invoice.state, invoice.refunded, invoice.refund_pending) == (State.PAID, 0, PAID)
    assert invoice.sequence == paid.sequence
    refund = await shop.refund_of(first.refund_id)
    assert (refund.reason, refund.position, refund.sequence) == ("Нет в наличии", 1, 0)
    assert await shop.events(refund.id) == []


async def test_a_repeated_order_changes_nothing_and_says_what_stands(books: Books, shop: Shop, paid: Invoice) -> None:
    order = shop.refund_order(paid, 300)
    made = await at_once(5, lambda _: books.refunds.open(order))
    assert [one.created for one in made].count(True) == 1
    await books.refunds.turn(shop.id, order.refund_id)
    again = await books.refunds.open(order)
    assert (again.created, again.state) == (False, RefundState.PROCESSING)
    assert (await shop.invoice(paid.id)).refund_pending == 300
    numbers = await books.fetch("select last_refund_number as n from merchants where id = :id", id=shop.id)
    assert numbers == [{"n": 1}]


async def test_the_answer_is_kept_to_the_byte(books: Books, shop: Shop, paid: Invoice) -> None:
    order = shop.refund_order(paid, 300, idempotency_key="k")
    await books.refunds.open(order)
    recorded = await shop.refund_of(order.refund_id)
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, order.operation, "k")
    assert kept is not None
    assert (kept.status, kept.body) == books.renderer.refund_answer(recorded, order.request_id)
    await books.refunds.turn(shop.id, order.refund_id)
    await shop.book_refund(order.refund_id, "completed", RefundState.COMPLETED)
    await books.refunds.open(order)
    created = await books.refund_reads.created(shop.id, order.refund_id)
    assert created is not None
    assert (created.status, created.body, created.fingerprint) == (kept.status, kept.body, order.fingerprint)
    assert created.refund.state is RefundState.COMPLETED


async def test_what_asks_for_too_much_is_told_what_there_is(books: Books, shop: Shop, paid: Invoice) -> None:
    exceeds = Code.REFUND_EXCEEDS_AVAILABLE
    assert await refusal(books, shop.refund_order(paid, PAID + 1, idempotency_key="k")) == (exceeds, PAID)
    await shop.refund(paid, 300)
    await shop.refund(paid, 200, to=RefundState.PENDING)
    await books.do("update invoices set refunded_outside = 50 where id = :id", id=paid.id)
    assert await refusal(books, shop.refund_order(paid, 451)) == (exceeds, 450)
    await books.refunds.open(shop.refund_order(paid, 450))
    assert await refusal(books, shop.refund_order(paid)) == (exceeds, 0)


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING, State.CANCELED, State.EXPIRED, State.FAILED])
async def test_what_was_not_paid_is_not_refunded(books: Books, shop: Shop, state: State) -> None:
    invoice = await shop.pending()
    if state is not State.PENDING:
        await shop.book(invoice.id, "moved", state)
    assert await refusal(books, shop.refund_order(invoice, 1)) == (Code.INVOICE_NOT_PAID, None)


async def test_another_merchants_invoice_is_not_there(books: Books, shop: Shop, paid: Invoice) -> None:
    other = await books.merchant()
    assert await refusal(books, other.refund_order(paid, 1)) == (Code.NOT_FOUND, None)
    assert (await shop.invoice(paid.id)).refund_pending == 0


@pytest.mark.parametrize("scheme", [Scheme.R1, Scheme.R2])
async def test_schemes_that_need_the_customer_are_refused(books: Books, shop: Shop, scheme: Scheme) -> None:
    invoice = await shop.paid(Kind.QR, amount=PAID)
    await books.do("update connections set scheme = :scheme where id = :id", scheme=scheme, id=shop.connection_id)
    assert await refusal(books, shop.refund_order(invoice, 1)) == (Code.REFUND_UNSUPPORTED, None)
    sandbox = await shop.paid(amount=PAID, sandbox=True)
    assert (await books.refunds.open(shop.refund_order(sandbox, 1))).created


async def test_a_sandbox_refund_has_no_bank(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=PAID, sandbox=True)
    order = shop.refund_order(invoice, 100, idempotency_key="k")
    standing = await books.refunds.open(order)
    assert (standing.connection_id, (await shop.refund_of(order.refund_id)).is_sandbox) == (None, True)
    assert await books.reads.kept_answer(shop.id, Mode.TEST, order.operation, "k") is not None
    assert await books.reads.kept_answer(shop.id, Mode.LIVE, order.operation, "k") is None


@pytest.mark.parametrize("late", [{"open_before": datetime.now(UTC) - timedelta(seconds=1)}, {"resumed": True}])
async def test_too_late_nothing_is_recorded_but_what_was_recorded_stands(
    books: Books, shop: Shop, paid: Invoice, late: dict[str, Any]
) -> None:
    order = shop.refund_order(paid, 100, idempotency_key="k", **late)
    with pytest.raises(IssueWindowMissed):
        await books.refunds.open(order)
    assert await traces(books, order) == []
    assert (await shop.invoice(paid.id)).refund_pending == 0
    in_time = shop.refund_order(paid, 100, refund_id=order.refund_id)
    await books.refunds.open(in_time)
    assert not (await books.refunds.open(order)).created


async def test_the_final_word_is_what_was_recorded_before_it(books: Books, shop: Shop, paid: Invoice) -> None:
    order = shop.refund_order(paid, 100, idempotency_key="k")
    recording = asyncio.create_task(books.refunds.open(order))
    before = await books.refund_reads.created(shop.id, order.refund_id, final=True)
    await recording
    after = await books.refund_reads.created(shop.id, order.refund_id, final=True)
    assert after is not None
    assert before is None or before == after


async def test_a_hundred_refunds_at_once_take_no_more_than_was_paid(books: Books, shop: Shop) -> None:
    invoice = await shop.paid(amount=100_000)
    chance = random.Random(20261122)
    orders = [shop.refund_order(invoice, chance.randint(1, 6_000)) for _ in range(100)]
    refusals: list[tuple[RefundRefused, int]] = []
    desk = asyncio.Semaphore(20)  # as many as there are connections; the activity keeps the rest waiting

    async def ask(order: OpenRefund) -> int:
        async with desk:
            try:
                return (await books.refunds.open(order)).amount
            except RefundRefused as error:
                refusals.append((error, order.amount or 0))
                return 0

    taken = await asyncio.gather(*(ask(order) for order in orders))
    after = await shop.invoice(invoice.id)
    assert after.refund_pending == sum(taken) <= invoice.amount
    assert refusals
    for error, asked in refusals:
        assert error.code is Code.REFUND_EXCEEDS_AVAILABLE
        assert error.available is not None
        assert error.available < asked
    # Nobody was refused who would have fitted: what is left is less than each of the refused wanted.
    left = available_for_refund(after)
    assert all((order.amount or 0) > left for order, got in zip(orders, taken, strict=True) if not got)
    places = await books.fetch(
        "select position, number from refunds where invoice_id = :id order by created_at", id=invoice.id
    )
    accepted = len([one for one in taken if one])
    assert [row["position"] for row in places] == [row["number"] for row in places] == list(range(1, accepted + 1))
