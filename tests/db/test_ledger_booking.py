"""What the books make of a change: state, event, deliveries and kept answer in one transaction."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.errors import BankPaymentTaken
from domain.event import Dialect, EventType
from domain.ids import EVENT, new_id
from domain.invoice import Attention, Invoice, Kind, Reason, State, can_become
from domain.merchant import Mode
from domain.rendering import Event
from tests.db.books import Books, Shop, at_once, issued

MONEY_IN = {State.PAID, State.PARTIALLY_REFUNDED, State.REFUNDED}


async def test_a_cause_is_booked_once_and_a_repeat_gives_the_same_deliveries(books: Books, shop: Shop) -> None:
    endpoint = await shop.endpoint()
    invoice = await shop.pending()
    first = await shop.book(invoice.id, "paid", State.PAID)
    after = await shop.invoice(invoice.id)
    again = await shop.book(invoice.id, "paid", State.PAID)
    assert (first.created, again.created) == (True, False)
    assert [ref.endpoint_id for ref in first.deliveries] == [endpoint]
    assert again.deliveries == first.deliveries
    assert again.state is State.PAID
    assert await shop.invoice(invoice.id) == after
    assert len(await shop.events(invoice.id)) == 1


async def test_twenty_bookings_of_one_cause_at_once_make_one_event(books: Books, shop: Shop) -> None:
    await shop.endpoint()
    invoice = await shop.pending()
    booked = await at_once(20, lambda _: shop.book(invoice.id, "paid", State.PAID))
    assert sum(one.created for one in booked) == 1
    assert len({ref.id for one in booked for ref in one.deliveries}) == 1
    assert len(await shop.events(invoice.id)) == 1


async def test_only_one_of_two_racing_closes_wins_and_both_hear_which(shop: Shop) -> None:
    invoice = await shop.pending()
    wishes = [("paid", State.PAID), ("canceled", State.CANCELED), ("expired", State.EXPIRED), ("failed", State.FAILED)]
    booked = await at_once(4, lambda number: shop.book(invoice.id, *wishes[number]))
    stands = (await shop.invoice(invoice.id)).state
    assert stands is State.PAID
    winners = [wish for wish, one in zip(wishes, booked, strict=True) if one.created]
    # One close at most beside the payment, and every answer says what stood when it was given.
    assert ("paid", State.PAID) in winners
    assert len(winners) <= 2
    assert all(one.state in {wish[1] for wish in winners} for one in booked)


async def test_a_change_that_became_impossible_changes_nothing_and_says_what_stands(shop: Shop) -> None:
    invoice = await shop.pending()
    await shop.book(invoice.id, "paid", State.PAID)
    before = await shop.invoice(invoice.id)
    booked = await shop.book(invoice.id, "canceled", State.CANCELED, reason=Reason.CANCELED_BY_MERCHANT)
    assert (booked.created, booked.state, booked.deliveries) == (False, State.PAID, [])
    assert await shop.invoice(invoice.id) == before


@pytest.mark.parametrize("closed", [State.CANCELED, State.EXPIRED, State.FAILED])
async def test_money_that_comes_after_the_close_is_booked_and_flagged(shop: Shop, closed: State) -> None:
    invoice = await shop.pending()
    await shop.book(invoice.id, "closed", closed, reason=Reason.EXPIRED)
    booked = await shop.book(invoice.id, "paid", State.PAID)
    after = await shop.invoice(invoice.id)
    assert (booked.created, booked.attention) == (True, Attention.PAID_LATE)
    assert (after.state, after.attention, after.status_reason) == (State.PAID, Attention.PAID_LATE, Reason.PAID_LATE)
    assert after.paid_at is not None
    last = (await shop.events(invoice.id))[-1]
    assert (last["type"], last["cause"]) == (EventType.INVOICE_STATUS_CHANGED, "paid")


async def test_money_in_time_is_not_flagged(shop: Shop) -> None:
    invoice = await shop.pending()
    await shop.book(invoice.id, "paid", State.PAID)
    after = await shop.invoice(invoice.id)
    assert (after.attention, after.status_reason) == (None, None)
    assert after.paid_at == after.updated_at


async def test_attention_is_set_and_cleared_beside_the_state(shop: Shop) -> None:
    order = await shop.opened()
    await shop.book(order.invoice_id, "outcome_unknown", attention=Attention.OUTCOME_UNKNOWN)
    flagged = await shop.invoice(order.invoice_id)
    assert (flagged.state, flagged.attention) == (State.PROCESSING, Attention.OUTCOME_UNKNOWN)
    answer = issued()
    await shop.book(order.invoice_id, "adopted", State.PENDING, issued=answer, clear_attention=True)
    adopted = await shop.invoice(order.invoice_id)
    assert (adopted.state, adopted.attention) == (State.PENDING, None)
    assert adopted.bank_payment_id == answer.bank_payment_id
    assert [event["type"] for event in await shop.events(order.invoice_id)] == [
        EventType.INVOICE_ATTENTION_REQUIRED,
        EventType.INVOICE_STATUS_CHANGED,
    ]


async def test_the_banks_answer_outweighs_the_fear_that_it_was_lost(shop: Shop) -> None:
    """Two runs of one step: whichever books last, the bill is issued and nobody is asked to look at it."""
    fear: dict[str, Any] = {"cause": "outcome_unknown", "attention": Attention.OUTCOME_UNKNOWN}
    for feared_first in (True, False):
        order = await shop.opened()
        if feared_first:
            await shop.book(order.invoice_id, **fear)
        answer: dict[str, Any] = {"issued": issued(), "clear_attention": True, "announce": False}
        await shop.book(order.invoice_id, "issued", State.PENDING, **answer)
        if not feared_first:
            assert not (await shop.book(order.invoice_id, **fear)).created
        invoice = await shop.invoice(order.invoice_id)
        assert (invoice.state, invoice.attention) == (State.PENDING, None)


async def test_a_decision_made_on_an_old_picture_changes_nothing(shop: Shop) -> None:
    order = await shop.opened()
    decision: dict[str, Any] = {"reason": Reason.DECLARED_ABSENT, "requires": Attention.OUTCOME_UNKNOWN}
    refused = await shop.book(order.invoice_id, "declared_absent", State.FAILED, **decision)
    assert (refused.created, refused.state) == (False, State.PROCESSING)
    await shop.book(order.invoice_id, "outcome_unknown", attention=Attention.OUTCOME_UNKNOWN)
    assert (await shop.book(order.invoice_id, "declared_absent", State.FAILED, **decision)).created


async def test_an_issue_is_written_down_with_all_that_the_bank_gave(shop: Shop) -> None:
    order = await shop.opened(Kind.QR)
    answer = msgspec.structs.replace(issued(), qr_token="0123", payment_link="https://pay.kaspi.kz/pay/x")
    booked = await shop.book(order.invoice_id, "issued", State.PENDING, issued=answer, announce=False)
    invoice = await shop.invoice(order.invoice_id)
    assert (booked.bank_payment_id, booked.deadline) == (answer.bank_payment_id, answer.deadline)
    assert (invoice.qr_token, invoice.payment_link) == ("0123", "https://pay.kaspi.kz/pay/x")
    assert invoice.expires_at == answer.expires_at
    assert await shop.events(order.invoice_id) == []  # the HTTP answer tells it


async def test_a_bank_payment_cannot_get_a_second_invoice(books: Books, shop: Shop) -> None:
    first = await shop.pending()
    second = await shop.opened()
    with pytest.raises(BankPaymentTaken):
        await shop.book(second.invoice_id, "issued", State.PENDING, issued=issued(first.bank_payment_id))
    untouched = await shop.invoice(second.invoice_id)
    assert (untouched.state, untouched.bank_payment_id, untouched.sequence) == (State.PROCESSING, None, 0)
    assert await shop.events(second.invoice_id) == []
    # Another connection's numbers are another bank's.
    other = await books.merchant()
    assert (await other.pending(payment=first.bank_payment_id)).bank_payment_id == first.bank_payment_id


async def test_sandbox_numbers_may_repeat(shop: Shop) -> None:
    first = await shop.pending(sandbox=True)
    second = await shop.pending(sandbox=True, payment=first.bank_payment_id)
    assert first.bank_payment_id == second.bank_payment_id


async def test_standing_tells_the_state_and_every_delivery_that_waits(shop: Shop) -> None:
    await shop.endpoint()
    invoice = await shop.pending()
    expired = await shop.book(invoice.id, "expired", State.EXPIRED)
    paid = await shop.book(invoice.id, "paid", State.PAID)
    standing = await shop.books.ledger.standing(shop.id, invoice.id)
    assert standing.told
    assert (standing.booked.state, standing.booked.created) == (State.PAID, False)
    assert standing.booked.deliveries == [*expired.deliveries, *paid.deliveries]
    assert standing.booked.bank_payment_id == invoice.bank_payment_id


async def test_a_claim_without_an_outcome_stands_untold(shop: Shop) -> None:
    order = await shop.opened()
    first = await shop.books.ledger.standing(shop.id, order.invoice_id)
    second = await shop.books.ledger.standing(shop.id, order.invoice_id)
    assert (first.told, first.booked.state, first.booked.deliveries) == (False, State.PROCESSING, [])
    assert 0 <= first.claim_age <= second.claim_age


async def test_the_answer_to_a_key_is_kept_once_and_stays_byte_equal(books: Books, shop: Shop) -> None:
    order = await shop.opened(idempotency_key="k")
    waiting = await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "k")
    assert waiting is not None
    assert (waiting.status, waiting.body) == (None, None)
    await shop.book(order.invoice_id, "issued", State.PENDING, issued=issued(), announce=False)
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "k")
    assert kept is not None
    assert kept.body is not None
    assert (kept.status, json.loads(kept.body)["state"]) == (201, "pending")
    await shop.book(order.invoice_id, "paid", State.PAID)
    assert await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "k") == kept
    created = await books.reads.created(shop.id, order.invoice_id)
    assert created is not None
    assert (created.status, created.body, created.invoice.state) == (201, kept.body, State.PAID)


async def test_a_refusal_is_the_kept_answer_too(books: Books, shop: Shop) -> None:
    order = await shop.opened(idempotency_key="k")
    await shop.book(order.invoice_id, "not_issued", State.FAILED, reason=Reason.REFUSED, bank_code=-1404)
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "k")
    assert kept is not None
    assert kept.body is not None
    body = json.loads(kept.body)
    assert (kept.status, body["error"]) == (502, "kaspi_refused")
    assert body["details"] == {"invoice_id": order.invoice_id, "kaspi_code": "-1404"}
    assert body["request_id"] == order.request_id


async def test_each_wanting_endpoint_gets_one_delivery_with_the_bytes_of_its_own(books: Books, shop: Shop) -> None:
    every = await shop.endpoint("*")
    named = await shop.endpoint("invoice.status_changed")
    await shop.endpoint("invoice.refunded")
    await shop.endpoint("*", sandbox=True)
    off = await shop.endpoint("*")
    await books.do("update webhook_endpoints set enabled = false, disabled_reason = 'merchant' where id = :id", id=off)
    stranger = await books.merchant()
    await stranger.endpoint("*")

    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "paid", State.PAID)
    assert sorted(ref.endpoint_id for ref in booked.deliveries) == sorted([every, named])
    (event,) = await shop.events(invoice.id)
    rows = await books.fetch("select * from deliveries where event_id = :id", id=event["id"])
    assert len(rows) == 2
    for row in rows:
        due = await books.deliveries.due(shop.id, row["id"])
        assert due is not None
        assert due.body == row["body"] == _rendered(books, event, row["endpoint_id"])


def _rendered(books: Books, event: dict[str, Any], endpoint_id: str) -> bytes:
    told = Event(
        id=event["id"],
        merchant_id=event["merchant_id"],
        type=EventType(event["type"]),
        object_id=event["object_id"],
        sequence=event["sequence"],
        cause=event["cause"],
        is_sandbox=event["is_sandbox"],
        created_at=event["created_at"],
        object=msgspec.json.decode(event["object"], type=Invoice),
        previous_state="pending",
    )
    return books.renderer.webhook(told, endpoint_id, Dialect.V1)


async def test_sandbox_events_go_to_sandbox_endpoints_only(shop: Shop) -> None:
    await shop.endpoint("*")
    sandbox = await shop.endpoint("*", sandbox=True)
    invoice = await shop.pending(sandbox=True)
    booked = await shop.book(invoice.id, "paid", State.PAID)
    assert [ref.endpoint_id for ref in booked.deliveries] == [sandbox]
    assert await shop.watch(invoice.id) is None  # the bank knows nothing of it


async def test_the_stored_event_shows_the_invoice_as_it_was_then(shop: Shop) -> None:
    invoice = await shop.pending()
    await shop.book(invoice.id, "scanned", State.PROCESSING, reason=Reason.PAYER_CONFIRMING)
    scanned = await shop.invoice(invoice.id)
    await shop.book(invoice.id, "paid", State.PAID)
    events = await shop.events(invoice.id)
    assert msgspec.json.decode(events[0]["object"], type=Invoice) == scanned


async def test_a_failed_write_leaves_no_event_and_no_answer(books: Books, shop: Shop) -> None:
    """State, event and answer are one transaction: an event that cannot be written takes the state back."""
    order = await shop.opened(idempotency_key="k")
    await books.do(
        "insert into events (id, merchant_id, type, object_id, sequence, cause, is_sandbox, api_version, object)"
        " values (:id, :merchant, 'x', :invoice, 1, 'in the way', false, 'v1', '')",
        id=new_id(EVENT),
        merchant=shop.id,
        invoice=order.invoice_id,
    )
    with pytest.raises(Exception, match="uq_events_object_id_sequence"):
        await shop.book(order.invoice_id, "issued", State.PENDING, issued=issued())
    assert (await shop.invoice(order.invoice_id)).state is State.PROCESSING
    assert await shop.watch(order.invoice_id) is None
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, "invoices", "k")
    assert kept is not None
    assert kept.body is None


# Into the refunded states only refunds lead (test_refunds).
LED_TO = sorted(set(State) - {State.PARTIALLY_REFUNDED, State.REFUNDED})
STEPS = st.lists(
    st.tuples(st.sampled_from(LED_TO), st.sampled_from([None, *Attention]), st.booleans()), min_size=1, max_size=7
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_a_random_story_stays_within_the_rules(shop: Shop, steps: list[Any]) -> None:
    await shop.endpoint()
    order = await shop.opened()
    before = await shop.invoice(order.invoice_id)
    changes = 0
    for number, (state, attention, silent) in enumerate(steps):
        booked = await shop.book(order.invoice_id, f"step {number}", state, attention=attention, announce=not silent)
        after = await shop.invoice(order.invoice_id)
        assert booked.state is after.state
        assert after.state is before.state or can_become(before.state, after.state)
        assert after.sequence == before.sequence + booked.created
        assert (after.state in MONEY_IN) == (after.paid_at is not None)
        assert before.paid_at in {None, after.paid_at}
        changes += booked.created and not silent
        before = after
    sequences = [event["sequence"] for event in await shop.events(order.invoice_id)]
    assert len(sequences) == changes
    assert sequences == sorted(set(sequences))
