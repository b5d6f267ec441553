"""Decisions in the books: each once, whole, and told in order."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from db.errors import IssueWindowMissed
from db.liveness import Liveness
from domain.billing_calendar import BillingPeriod, Plan
from domain.cart import InvoiceItem
from domain.catalog import Unit
from domain.invoice import State as InvoiceState
from domain.merchant import Mode
from domain.subscription import Change, ChargeFailed, ChargePaid, ChargeRef, Pause, TimeReached
from domain.subscription_record import Asked, NewTerms, terms_of
from tests.db.books import Books, Shop
from tests.db.subscriptions import AMOUNT, START, BookedSubscription

FIRST = ChargeRef(number=1, charge=1)
ITEMS = [
    InvoiceItem(position=1, name="Тай-бокс", unit=Unit.PIECE, count_milli=1000, price=AMOUNT, sum=AMOUNT, amount=AMOUNT)
]


async def test_it_is_recorded_once_with_its_answer(books: Books, shop: Shop) -> None:
    one = BookedSubscription(shop, idempotency_key="k", metadata={"plan": "gold"}, external_order_id="o-1")
    await one.opened()
    await one.opened()
    row = await one.row()
    assert (row.number, row.state, row.version, row.next_billing_at, row.metadata) == (
        1, "active", 0, START, {"plan": "gold"},
    )  # fmt: skip
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, "subscriptions", "k")
    assert kept is not None
    assert (kept.resource_id, kept.status) == (one.id, 201)
    audit = await books.fetch("select action from audit_log where object_id = :id", id=one.id)
    assert [entry["action"] for entry in audit] == ["subscription.created"]


async def test_asked_for_too_late_nothing_is_recorded(books: Books, shop: Shop) -> None:
    one = BookedSubscription(shop, open_before=START)
    with pytest.raises(IssueWindowMissed):
        await one.opened()
    assert await books.fetch("select 1 from subscriptions where id = :id", id=one.id) == []


async def test_a_decision_is_booked_whole(books: Books, shop: Shop) -> None:
    await shop.endpoint()
    one = await BookedSubscription(shop).opened()
    await one.due()
    invoice_id = await one.out()
    booked = await one.hear(ChargePaid(ref=FIRST), START)
    assert len(booked.deliveries) == 1
    row = await one.row()
    assert (row.version, row.sequence, row.invoice_id) == (2, 1, None)
    assert row.next_billing_at is not None
    assert [(period["number"], period["state"]) for period in await one.periods()] == [(1, "paid")]
    (event,) = await shop.events(one.id)
    assert (event["type"], event["sequence"]) == ("subscription.payment_succeeded", 1)
    told = msgspec.json.decode(event["object"])
    assert (told["told"]["number"], told["invoice_id"], told["subscription"]["id"]) == (1, invoice_id, one.id)


async def test_the_same_decision_again_gives_the_first_result(books: Books, shop: Shop) -> None:
    await shop.endpoint()
    one = await BookedSubscription(shop).opened()
    await one.due()
    _, ask = await one.ask(ChargePaid(ref=FIRST), START)
    first = await one.ledger.book(ask)
    again = await one.ledger.book(ask)
    assert (again.repeated, again.version, again.standing) == (True, first.version, ask.standing)
    assert again.deliveries == first.deliveries
    assert len(await shop.events(one.id)) == 1


async def test_of_two_decisions_at_once_one_is_booked_and_the_other_hears_of_it(shop: Shop) -> None:
    one = await BookedSubscription(shop).opened()
    asks = [(await one.ask(Pause(), START))[1] for _ in range(4)]
    results = await asyncio.gather(*(one.ledger.book(ask) for ask in asks))
    assert sorted(result.standing is None for result in results) == [False, False, False, True]
    assert (await one.row()).version == 1


async def test_a_long_outage_is_skipped_in_one_decision(books: Books, shop: Shop) -> None:
    one = await BookedSubscription(shop, plan=Plan(period=BillingPeriod.DAILY)).opened()
    await one.due(1000)
    periods = await one.periods()
    assert len(periods) == 1001
    assert {(period["state"], period["reason"]) for period in periods[:-1]} == {("skipped", "outage")}
    assert periods[-1]["state"] == "billing"
    assert [period["due_at"] for period in periods] == [START + timedelta(days=day) for day in range(1001)]
    assert [event["type"] for event in await shop.events(one.id)] == ["subscription.period_skipped"]


async def test_a_late_payment_makes_a_failed_period_paid(shop: Shop) -> None:
    one = await BookedSubscription(shop).opened()
    await one.due()
    for charge in range(1, 5):
        await one.hear(ChargeFailed(ref=ChargeRef(number=1, charge=charge)), START + timedelta(days=charge))
        await one.due(charge + 1)
    await one.due(20)
    assert [period["state"] for period in await one.periods()] == ["failed"]
    assert (await one.row()).ended_at is not None
    await one.hear(ChargePaid(ref=FIRST), START + timedelta(days=21))
    assert [period["state"] for period in await one.periods()] == ["paid"]
    row = await one.row()
    assert (row.state, row.ended_at) == ("active", None)


async def test_an_action_keeps_its_answer_for_the_key(books: Books, shop: Shop) -> None:
    one = await BookedSubscription(shop).opened()
    asked = Asked(
        asked_by="key_7", request_id="req_9", operation="subscriptions.pause", idempotency_key="p", fingerprint="f"
    )
    await one.hear(Pause(), START, asked=asked)
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, "subscriptions.pause", "p")
    assert kept is not None
    assert (kept.status, kept.fingerprint) == (200, "f")
    assert kept.body is not None
    assert msgspec.json.decode(kept.body)["id"] == one.id
    (_, entry) = await books.fetch("select * from audit_log where object_id = :id order by position", id=one.id)
    assert (entry["actor_id"], entry["request_id"], entry["before"], entry["after"]) == (
        "key_7",
        "req_9",
        "active",
        "paused",
    )
    # The key's answer stands: the same key decides nothing any more.
    _, ask = await one.ask(TimeReached(), START, asked=asked)
    taken = await one.ledger.book(ask)
    assert taken.key_taken
    assert (await one.row()).version == 1


async def test_terms_are_kept_by_revision_and_bills_take_theirs(books: Books, shop: Shop) -> None:
    one = await BookedSubscription(shop, terms=NewTerms(amount=AMOUNT, items=ITEMS, description="old")).opened()
    await one.due()
    old = await one.charge(1, 1)
    assert (old.amount, old.description, old.items) == (AMOUNT, "old", ITEMS)
    assert old.subscription is not None
    row = await one.row()
    new = NewTerms(amount=AMOUNT * 2, description="new")
    await one.hear(Change(terms=terms_of(new, 2)), START, terms=new)
    after = await one.row()
    assert (row.items, after.items, after.amount, after.description) == (ITEMS, [], AMOUNT * 2, "new")
    assert (await one.charge(1, 1, revision=1)).amount == AMOUNT
    assert (await one.charge(1, 1, revision=2)).amount == AMOUNT * 2


async def test_loading_finds_what_was_not_heard(shop: Shop) -> None:
    one = await BookedSubscription(shop).opened()
    await one.due()
    invoice_id = await one.out()
    loaded = await one.ledger.load(shop.id, one.id)
    assert loaded is not None
    assert [(bill.ref, bill.state) for bill in loaded.bills] == [(FIRST, InvoiceState.PENDING)]
    await shop.book(invoice_id, "paid", InvoiceState.PAID)
    loaded = await one.ledger.load(shop.id, one.id)
    assert loaded is not None
    assert [(bill.ref, bill.state) for bill in loaded.bills] == [(FIRST, InvoiceState.PAID)]
    await one.hear(ChargePaid(ref=FIRST), START)
    loaded = await one.ledger.load(shop.id, one.id)
    assert loaded is not None
    assert loaded.bills == []


async def test_a_live_bill_takes_the_bank_connected_then(books: Books, shop: Shop) -> None:
    one = await BookedSubscription(shop).opened()
    await one.due()
    assert (await one.charge()).connection_id == shop.connection_id
    await books.do("update connections set active = 0 where id = :id", id=shop.connection_id)
    nothing = await one.bills.bill(shop.id, one.id, FIRST, 1)
    assert (nothing.known, nothing.order) == (None, None)
    other = await books.connection(shop.id)
    assert (await one.charge()).connection_id == other


async def test_the_watchdog_sees_what_is_not_over(books: Books, shop: Shop) -> None:
    one = await BookedSubscription(shop).opened()
    liveness = Liveness(books.operator)
    seen = await liveness.subscriptions(after="", grace=-1, limit=10_000)
    assert one.id in {ref.subscription_id for ref in seen}
    assert one.id not in {ref.subscription_id for ref in await liveness.subscriptions(after="", grace=60, limit=10_000)}
