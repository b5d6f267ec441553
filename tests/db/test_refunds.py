"""A refund's life in the books: turns, attempts, outcomes, and the sums of its invoice after each."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.errors import RefundRefused
from db.refund_reads import RefundFilter
from domain.event import EventType
from domain.invoice import Invoice, State
from domain.refund import (
    Refund,
    RefundAttempt,
    RefundAttention,
    RefundReason,
    RefundState,
    Returned,
    ReturnOutcome,
)
from tests.db.books import Books, Shop, at_once

PAID = 1_000
DONE = Returned(outcome=ReturnOutcome.DONE, bank_return_id=77)
UNKNOWN = Returned(outcome=ReturnOutcome.UNKNOWN)
REFUSED = Returned(outcome=ReturnOutcome.REFUSED, reason=RefundReason.REFUSED, bank_code=-99000011)


@pytest.fixture
async def paid(shop: Shop) -> Invoice:
    return await shop.paid(amount=PAID)


@pytest.fixture
async def refund(shop: Shop, paid: Invoice) -> Refund:
    """400 of 1000, at its turn."""
    return await shop.refund(paid, 400, to=RefundState.PROCESSING)


async def told(shop: Shop, object_id: str) -> list[tuple[str, str, int, str | None]]:
    return [
        (event["type"], event["cause"], event["sequence"], event["previous_state"])
        for event in await shop.events(object_id)
    ]


async def logged(books: Books, object_id: str) -> list[tuple[str, str, str | None, str | None, str | None]]:
    rows = await books.fetch(
        "select actor_kind || ':' || actor_id as who, action, before, after, note from audit_log"
        " where object_id = :id order by position",
        id=object_id,
    )
    return [(row["who"], row["action"], row["before"], row["after"], row["note"]) for row in rows]


def sums(invoice: Invoice) -> tuple[State, int, int, int]:
    return invoice.state, invoice.refunded, invoice.refund_pending, invoice.refunded_outside


# --- turns


async def test_turns_are_taken_in_the_order_of_arrival(books: Books, shop: Shop, paid: Invoice) -> None:
    first, second, third = [await shop.refund(paid, 100, to=RefundState.PENDING) for _ in range(3)]
    early = await books.refunds.turn(shop.id, third.id)
    assert (early.state, early.blocked, early.created) == (RefundState.PENDING, True, False)
    taken = await at_once(3, lambda _: books.refunds.turn(shop.id, first.id))
    assert {one.state for one in taken} == {RefundState.PROCESSING}
    assert sorted(one.created for one in taken) == [False, False, True]
    assert (await books.refunds.turn(shop.id, second.id)).blocked
    over = await shop.book_refund(first.id, "failed", RefundState.FAILED, reason=RefundReason.REFUSED)
    assert (over.next_refund, over.blocked) == (second.id, False)
    assert (await books.refunds.turn(shop.id, third.id)).blocked
    assert not (await books.refunds.standing(shop.id, second.id)).blocked
    assert (await books.refunds.turn(shop.id, second.id)).created
    over = await shop.book_refund(second.id, "completed", RefundState.COMPLETED)
    assert over.next_refund == third.id
    assert (await books.refunds.turn(shop.id, third.id)).created
    over = await shop.book_refund(third.id, "completed", RefundState.COMPLETED)
    assert over.next_refund is None
    assert sums(await shop.invoice(paid.id)) == (State.PARTIALLY_REFUNDED, 200, 0, 0)


async def test_refunds_of_other_invoices_do_not_wait(books: Books, shop: Shop, refund: Refund) -> None:
    other = await shop.refund(await shop.paid(amount=PAID), 1, to=RefundState.PENDING)
    assert (await books.refunds.turn(shop.id, other.id)).created


# --- attempts


async def intend(
    books: Books, refund: Refund, number: int, token: str, *, available: int = PAID, outside: int = 0
) -> bool:
    ledger = books.refunds
    return await ledger.intend(refund.merchant_id, refund.id, number, token=token, available=available, outside=outside)


async def attempts(books: Books, refund: Refund) -> list[RefundAttempt]:
    return (await books.refunds.standing(refund.merchant_id, refund.id)).attempts


async def test_one_of_all_who_want_it_may_send(books: Books, refund: Refund) -> None:
    claims = await at_once(10, lambda number: intend(books, refund, 1, f"t{number}"))
    assert claims.count(True) == 1
    winner = f"t{claims.index(True)}"
    assert await intend(books, refund, 1, winner)  # its own commit whose answer was lost
    assert not await intend(books, refund, 1, "another")
    (attempt,) = await attempts(books, refund)
    assert (attempt.number, attempt.available_before, attempt.outcome) == (1, PAID, None)


async def test_a_number_that_is_over_is_never_claimed_again(books: Books, refund: Refund) -> None:
    assert await intend(books, refund, 1, "one")
    await books.refunds.answered(refund.merchant_id, refund.id, 1, UNKNOWN)
    assert await intend(books, refund, 2, "two", available=900)
    assert not await intend(books, refund, 1, "late")
    assert [(one.number, one.available_before) for one in await attempts(books, refund)] == [(1, PAID), (2, 900)]


@pytest.mark.parametrize("state", [RefundState.PENDING, RefundState.FAILED, RefundState.COMPLETED])
async def test_what_is_not_at_its_turn_is_never_sent(
    books: Books, shop: Shop, paid: Invoice, state: RefundState
) -> None:
    refund = await shop.refund(paid, 100, to=state)
    assert not await intend(books, refund, 1, "t")
    assert await attempts(books, refund) == []


async def test_an_intent_keeps_what_others_refunded_and_never_less(books: Books, shop: Shop, refund: Refund) -> None:
    assert await intend(books, refund, 1, "one", available=850, outside=150)
    standing = await books.refunds.standing(shop.id, refund.id)
    assert (standing.expected, standing.refunded_outside) == (850, 150)
    await books.refunds.answered(shop.id, refund.id, 1, UNKNOWN)
    assert await intend(books, refund, 2, "two", available=900, outside=100)
    assert (await shop.invoice(refund.invoice_id)).refunded_outside == 150


@pytest.mark.parametrize("word", [DONE, REFUSED, Returned(outcome=ReturnOutcome.NOT_SENT)])
async def test_the_banks_first_real_word_stays(books: Books, refund: Refund, word: Returned) -> None:
    await intend(books, refund, 1, "t")
    for answer in (UNKNOWN, word, UNKNOWN, DONE, REFUSED):
        await books.refunds.answered(refund.merchant_id, refund.id, 1, answer)
    (attempt,) = await attempts(books, refund)
    assert (attempt.outcome, attempt.bank_return_id) == (word.outcome, word.bank_return_id)
    assert (attempt.reason, attempt.bank_code) == (word.reason, word.bank_code)


# --- outcomes


async def test_a_partial_and_the_last_refund_are_told_of_both(books: Books, shop: Shop, paid: Invoice) -> None:
    endpoint = await shop.endpoint()
    first = await shop.refund(paid, 400, to=RefundState.PROCESSING)
    booked = await shop.book_refund(first.id, "completed", RefundState.COMPLETED, bank_return_id=77)
    assert (booked.state, booked.sequence, len(booked.deliveries)) == (RefundState.COMPLETED, 2, 2)
    assert {ref.endpoint_id for ref in booked.deliveries} == {endpoint}
    after = await shop.invoice(paid.id)
    assert sums(after) == (State.PARTIALLY_REFUNDED, 400, 0, 0)
    assert after.sequence == paid.sequence + 1
    done = await shop.refund_of(first.id)
    assert (done.bank_return_id, done.attention) == (77, None)
    assert done.completed_at == done.updated_at
    second = await shop.refund(paid, 600)
    assert sums(await shop.invoice(paid.id)) == (State.REFUNDED, PAID, 0, 0)
    assert await told(shop, first.id) == [(EventType.REFUND_COMPLETED, "completed", 2, "processing")]
    at_invoice = [one for one in await told(shop, paid.id) if one[0] == EventType.INVOICE_REFUNDED]
    assert at_invoice == [
        (EventType.INVOICE_REFUNDED, f"refunded:{first.id}", paid.sequence + 1, "paid"),
        (EventType.INVOICE_REFUNDED, f"refunded:{second.id}", paid.sequence + 2, "partially_refunded"),
    ]


async def test_what_was_booked_once_is_not_booked_again_and_nobody_is_forgotten(
    books: Books, shop: Shop, paid: Invoice
) -> None:
    await shop.endpoint()
    refund = await shop.refund(paid, 400, to=RefundState.PROCESSING)
    first = await shop.book_refund(refund.id, "completed", RefundState.COMPLETED)
    again = await shop.book_refund(refund.id, "completed", RefundState.COMPLETED)
    otherwise = await shop.book_refund(refund.id, "failed", RefundState.FAILED, reason=RefundReason.REFUSED)
    resumed = await books.refunds.open(shop.refund_order(paid, 400, refund_id=refund.id, resumed=True))
    # A process that died between its commit and its story still has both webhooks to send, the invoice's too.
    for later in (again, otherwise, resumed):
        assert not later.created
        assert msgspec.structs.replace(later, created=True) == first
    assert sums(await shop.invoice(paid.id)) == (State.PARTIALLY_REFUNDED, 400, 0, 0)
    assert len(await shop.events(refund.id)) == 1


async def test_a_failure_frees_the_money(books: Books, shop: Shop, refund: Refund) -> None:
    before = await shop.invoice(refund.invoice_id)
    booked = await shop.book_refund(
        refund.id, "failed", RefundState.FAILED, reason=RefundReason.REFUSED, bank_code=-99000011
    )
    after = await shop.invoice(refund.invoice_id)
    assert (booked.expected, sums(after)) == (PAID, (State.PAID, 0, 0, 0))
    assert after.sequence == before.sequence  # nothing about the invoice is news
    failed = await shop.refund_of(refund.id)
    assert (failed.status_reason, failed.bank_code, failed.completed_at) == (RefundReason.REFUSED, -99000011, None)
    assert await told(shop, refund.id) == [(EventType.REFUND_FAILED, "failed", 2, "processing")]


async def test_what_the_bank_executed_cannot_be_called_failed(books: Books, shop: Shop, refund: Refund) -> None:
    await intend(books, refund, 1, "t")
    await books.refunds.answered(shop.id, refund.id, 1, DONE)
    standing = await shop.book_refund(refund.id, "failed", RefundState.FAILED, reason=RefundReason.REFUSED)
    assert (standing.created, standing.state) == (False, RefundState.PROCESSING)
    assert (await shop.book_refund(refund.id, "completed", RefundState.COMPLETED)).created


async def test_attention_is_told_and_the_money_stays_reserved(books: Books, shop: Shop, refund: Refund) -> None:
    unknown, outside = RefundAttention.OUTCOME_UNKNOWN, RefundAttention.REFUNDED_OUTSIDE
    first = await shop.book_refund(refund.id, "attention:1", attention=unknown)
    assert (first.state, first.attention, first.sequence) == (RefundState.PROCESSING, unknown, 2)
    assert not (await shop.book_refund(refund.id, "attention:1", attention=unknown)).created
    assert not (await shop.book_refund(refund.id, "attention:2", attention=unknown)).created  # no news
    assert (await shop.book_refund(refund.id, "attention:2", attention=outside)).created
    assert sums(await shop.invoice(refund.invoice_id)) == (State.PAID, 0, 400, 0)
    needed = EventType.REFUND_ATTENTION_REQUIRED
    assert await told(shop, refund.id) == [
        (needed, "attention:1", 2, "processing"),
        (needed, "attention:2", 3, "processing"),
    ]


async def test_a_decision_about_an_old_picture_changes_nothing(books: Books, shop: Shop, refund: Refund) -> None:
    await shop.book_refund(refund.id, "attention:1", attention=RefundAttention.REFUNDED_OUTSIDE)
    seen: dict[str, Any] = {"requires": RefundAttention.OUTCOME_UNKNOWN, "clear_attention": True, "operator": "aigul"}
    assert not (await shop.book_refund(refund.id, "retry:2", **seen)).created
    seen["requires"] = RefundAttention.REFUNDED_OUTSIDE
    cleared = await shop.book_refund(refund.id, "retry:2", **seen)
    assert (cleared.created, cleared.attention, cleared.sequence) == (True, None, 3)
    assert not (await shop.book_refund(refund.id, "retry:2", **seen)).created
    assert len(await shop.events(refund.id)) == 1  # that somebody tries again is no news


async def test_an_outcome_ends_the_attention_and_keeps_what_others_refunded(
    books: Books, shop: Shop, refund: Refund
) -> None:
    await shop.book_refund(refund.id, "attention:1", attention=RefundAttention.REFUNDED_OUTSIDE)
    done = await shop.book_refund(
        refund.id, "completed", RefundState.COMPLETED, reason=RefundReason.DECLARED_EXECUTED, refunded_outside=150
    )
    assert (done.attention, done.expected, done.refunded_outside) == (None, 450, 150)
    assert sums(await shop.invoice(refund.invoice_id)) == (State.PARTIALLY_REFUNDED, 400, 0, 150)


async def test_every_step_is_in_the_audit_log(books: Books, shop: Shop, paid: Invoice) -> None:
    refund = await shop.refund(paid, 400, to=RefundState.PROCESSING, asked_by="key_7")
    await intend(books, refund, 1, "t")
    await shop.book_refund(refund.id, "attention:1", attention=RefundAttention.OUTCOME_UNKNOWN)
    decided: dict[str, Any] = {"operator": "aigul", "note": "seen in the app"}
    await shop.book_refund(
        refund.id, "completed", RefundState.COMPLETED, reason=RefundReason.DECLARED_EXECUTED, **decided
    )
    await shop.book_refund(refund.id, "completed", RefundState.COMPLETED, **decided)
    story = f"workflow:refund-{refund.id}"
    assert await logged(books, refund.id) == [
        ("key:key_7", "refund.created", None, "pending", f"400 tiyn of {paid.id}"),
        (story, "refund.processing", "pending", "processing", None),
        (story, "refund.attempt_1", None, "attempt_1", f"{PAID} tiyn available, 0 refunded outside"),
        (story, "refund.kaspi_outcome_unknown", None, "kaspi_outcome_unknown", None),
        ("operator:aigul", "refund.completed", "processing", "completed", "seen in the app"),
    ]


async def test_another_merchants_refund_cannot_be_touched(books: Books, refund: Refund) -> None:
    other = await books.merchant()
    stolen = msgspec.structs.replace(refund, merchant_id=other.id)
    for touch in (
        books.refunds.turn(other.id, refund.id),
        books.refunds.standing(other.id, refund.id),
        other.book_refund(refund.id, "completed", RefundState.COMPLETED),
        intend(books, stolen, 1, "t"),
    ):
        with pytest.raises(Exception, match="No row was found"):
            await touch
    await books.refunds.answered(other.id, refund.id, 1, DONE)
    assert (await books.refunds.standing(refund.merchant_id, refund.id)).state is RefundState.PROCESSING


# --- against a model

STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "turn", "complete", "fail"]), st.integers(0, 5), st.integers(1, 600)),
    max_size=12,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_any_sequence_of_steps_keeps_the_sums_of_an_exact_model(
    books: Books, shop: Shop, steps: list[tuple[str, int, int]]
) -> None:
    invoice = await shop.paid(amount=PAID)
    model: list[tuple[str, int, RefundState]] = []
    for step, which, amount in steps:
        if step == "open":
            await model_open(books, shop, invoice, model, amount)
        elif model:
            await model_move(books, shop, model, step, which % len(model))
        done = sum(amount for _, amount, state in model if state is RefundState.COMPLETED)
        under_way = sum(amount for _, amount, state in model if state in {RefundState.PENDING, RefundState.PROCESSING})
        word = State.REFUNDED if done == PAID else State.PARTIALLY_REFUNDED if done else State.PAID
        assert sums(await shop.invoice(invoice.id)) == (word, done, under_way, 0)
        assert done + under_way <= PAID
    page = await books.refund_reads.page(shop.id, RefundFilter(invoice_id=invoice.id, limit=100))
    assert [(one.id, one.amount, one.state) for one in reversed(page.items)] == model


async def model_open(
    books: Books, shop: Shop, invoice: Invoice, model: list[tuple[str, int, RefundState]], amount: int
) -> None:
    taken = sum(one for _, one, state in model if state is not RefundState.FAILED)
    if amount > PAID - taken:
        with pytest.raises(RefundRefused):
            await books.refunds.open(shop.refund_order(invoice, amount))
        return
    order = shop.refund_order(invoice, amount)
    assert (await books.refunds.open(order)).created
    model.append((order.refund_id, amount, RefundState.PENDING))


async def model_move(
    books: Books, shop: Shop, model: list[tuple[str, int, RefundState]], step: str, place: int
) -> None:
    id_, amount, state = model[place]
    ended = {RefundState.COMPLETED, RefundState.FAILED}
    if step == "turn":
        moves = state is RefundState.PENDING and all(one[2] in ended for one in model[:place])
        standing = await books.refunds.turn(shop.id, id_)
        wanted = RefundState.PROCESSING
    else:
        wanted = RefundState.COMPLETED if step == "complete" else RefundState.FAILED
        moves = state is RefundState.PROCESSING or (state is RefundState.PENDING and wanted is RefundState.FAILED)
        standing = await shop.book_refund(id_, step, wanted)
    assert standing.created is moves
    if moves:
        model[place] = (id_, amount, wanted)
    assert standing.state is model[place][2]
