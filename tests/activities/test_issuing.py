"""Issuing against the emulated bank, whose ledger is the judge: at most one bill, and nothing unknown called failed."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.booking import Booking
from activities.failures import WINDOW_MISSED
from activities.issuing import IssueLimits, Issuing
from db.engine import create_engine
from db.errors import DatabaseUnavailable
from db.ledger import Ledger
from dev.ports import free_port
from dev.postgres import Database
from domain.invoice import Attention, Kind, Reason, State
from domain.merchant import Mode
from tests.activities.town import Town, claimed
from tests.activities.wire import Wire
from tests.db.books import Shop

NOT_A_CLIENT = "77000000000"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    # How long the activity keeps trying is a constant; that it does is what the tests ask.
    monkeypatch.setattr("activities.issuing.NOT_SENT_PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr("activities.issuing.BOOK_PAUSES", (0.01, 0.01))
    monkeypatch.setattr("activities.issuing.OPEN_PAUSES", (0.01, 0.01))


@pytest.fixture(scope="module")
async def shop(town_of_run: Town) -> Shop:
    return await town_of_run.merchant()


@pytest.mark.parametrize("kind", Kind)
async def test_a_bill_is_issued_and_stands_in_both_books(town: Town, shop: Shop, kind: Kind) -> None:
    order = shop.order(kind, amount=1_050, description="Заказ")
    outcome = await town.issue(order)
    invoice = await shop.invoice(order.invoice_id)
    (bill,) = await town.bills(order)
    assert outcome.unwritten is None
    assert outcome.booked is not None
    assert (invoice.state, invoice.attention, bill["amount_tiyn"]) == (State.PENDING, None, 1_050)
    assert invoice.bank_payment_id == outcome.booked.bank_payment_id == bill["id"]
    assert bool(invoice.qr_token) == (kind is Kind.QR)
    assert bool(invoice.payment_link) == (kind is Kind.LINK)
    assert outcome.booked.deadline is not None
    assert invoice.expires_at is not None
    assert datetime.now(UTC) < invoice.expires_at < outcome.booked.deadline


async def test_a_sandbox_bill_never_reaches_the_bank(town: Town, shop: Shop) -> None:
    order = shop.order(sandbox=True)
    outcome = await town.issue(order)
    assert outcome.booked is not None
    assert outcome.booked.state is State.PENDING
    assert await town.bills(order) == []


async def test_a_refusal_is_a_failure_and_the_reason_is_kept(town: Town, shop: Shop) -> None:
    order = shop.order(phone=NOT_A_CLIENT, idempotency_key="refused")
    await town.issue(order)
    invoice = await shop.invoice(order.invoice_id)
    assert (invoice.state, invoice.status_reason, invoice.bank_code) == (State.FAILED, Reason.REFUSED, -1404)
    assert invoice.attention is None
    kept = await town.books.reads.kept_answer(shop.id, Mode.LIVE, order.operation, "refused")
    assert kept is not None
    assert kept.body is not None
    assert (kept.status, json.loads(kept.body)["error"]) == (502, "kaspi_refused")
    assert await shop.watch(order.invoice_id) is None


async def test_a_bank_that_does_not_know_the_device_needs_an_operator(town: Town, shop: Shop) -> None:
    await town.admin.fault("remote/create", "code", code=-1501, execute=False)
    order = shop.order()
    await town.issue(order)
    invoice = await shop.invoice(order.invoice_id)
    assert (invoice.state, invoice.status_reason) == (State.FAILED, Reason.MISCONFIGURED)
    assert invoice.bank_code == -1501
    assert await town.bills(order) == []


async def test_a_strangers_connection_is_misconfigured_and_the_bank_is_never_called(town: Town, shop: Shop) -> None:
    other = await town.books.merchant()
    order = shop.order(connection_id=other.connection_id)
    before = await town.received("remote/create")
    await town.issue(order)
    invoice = await shop.invoice(order.invoice_id)
    assert (invoice.state, invoice.status_reason) == (State.FAILED, Reason.MISCONFIGURED)
    assert await town.received("remote/create") == before


async def test_a_bank_that_nobody_answers_for_was_not_asked_so_the_bill_failed(town: Town, shop: Shop) -> None:
    lonely = await town.books.merchant()
    connection = await town.connect(lonely.id)
    port = free_port()
    await town.books.do(
        "update connections set base_url = :url where id = :id",
        url=f"https://127.0.0.1:{port}/r3/v01",
        id=connection.id,
    )
    order = lonely.order(connection_id=connection.id)
    await town.issue(order)
    invoice = await lonely.invoice(order.invoice_id)
    assert (invoice.state, invoice.status_reason) == (State.FAILED, Reason.UNAVAILABLE)
    assert invoice.attention is None


async def test_a_bank_that_comes_back_between_the_tries_issues_the_bill(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.issuing.NOT_SENT_PAUSES", (0.05,) * 100)
    shop = await town.books.merchant()
    connection = await town.connect(shop.id)
    async with Wire(town.emulator.bank_port) as wire:
        await town.books.do(
            "update connections set base_url = :url where id = :id",
            url=f"https://127.0.0.1:{wire.port}/r3/v01",
            id=connection.id,
        )
        wire.cut()
        order = shop.order(connection_id=connection.id)
        issuing = asyncio.create_task(town.issue(order))
        await wire.refused_somebody()
        wire.mend()
        outcome = await issuing
    assert outcome.booked is not None
    assert outcome.booked.state is State.PENDING
    assert len(await town.bills(order)) == 1


@pytest.mark.parametrize(
    ("fault", "made"),
    [("execute_then_drop", 1), ("drop_before", 0), ("error_5xx_after", 1), ("html", 1), ("empty", 1), ("malformed", 1)],
)
async def test_a_lost_answer_about_a_phone_bill_is_unknown_and_never_asked_for_again(
    town: Town, shop: Shop, fault: str, made: int
) -> None:
    await town.admin.fault("remote/create", fault)
    order = shop.order()
    before = await town.received("remote/create")
    outcome = await town.issue(order)
    invoice = await shop.invoice(order.invoice_id)
    assert outcome.booked is not None
    assert (invoice.state, invoice.attention) == (State.PROCESSING, Attention.OUTCOME_UNKNOWN)
    assert await town.received("remote/create") == before + 1
    assert len(await town.bills(order)) == made
    # As after a crash of the worker: the activity runs again, the bank hears nothing.
    again = await town.issue(order)
    assert await town.received("remote/create") == before + 1
    assert again.booked is not None
    assert (again.booked.state, again.booked.attention) == (State.PROCESSING, Attention.OUTCOME_UNKNOWN)


async def test_a_lost_answer_about_a_qr_is_asked_for_again_because_nobody_has_the_first(town: Town, shop: Shop) -> None:
    await town.admin.fault("qr/create", "execute_then_drop")
    order = shop.order(Kind.QR)
    await town.issue(order)
    invoice = await shop.invoice(order.invoice_id)
    bills = await town.bills(order)
    assert (invoice.state, invoice.attention) == (State.PENDING, None)
    assert len(bills) == 2
    assert invoice.bank_payment_id == max(bill["id"] for bill in bills)


async def test_a_second_run_after_success_tells_what_stands_and_asks_nobody(town: Town, shop: Shop) -> None:
    order = shop.order()
    first = await town.issue(order)
    second = await town.issue(order)
    assert first.booked is not None
    assert second.booked is not None
    assert second.booked.bank_payment_id == first.booked.bank_payment_id
    assert second.booked.state is State.PENDING
    assert len(await town.bills(order)) == 1


async def test_ten_workers_at_once_send_the_payer_at_most_one_bill(town: Town, shop: Shop) -> None:
    order = shop.order()
    await asyncio.gather(*(town.issue(order) for _ in range(10)))
    (bill,) = await town.bills(order)
    # Nine of them may have feared the worst, but the one that knows has the last word.
    invoice = await shop.invoice(order.invoice_id)
    assert (invoice.state, invoice.attention, invoice.bank_payment_id) == (State.PENDING, None, bill["id"])


async def test_a_process_that_died_between_claim_and_call_leaves_an_unknown(town: Town, shop: Shop) -> None:
    order = shop.order()
    assert (await town.books.ledger.open_invoice(order)).claimed
    outcome = await town.issue(order)
    assert outcome.booked is not None
    assert outcome.booked.attention is Attention.OUTCOME_UNKNOWN
    assert await town.bills(order) == []
    (event,) = await shop.events(order.invoice_id)
    assert event["type"] == "invoice.attention_required"


@pytest.mark.parametrize("kind", [Kind.QR, Kind.LINK])
async def test_after_the_same_death_a_qr_or_link_is_simply_made(town: Town, shop: Shop, kind: Kind) -> None:
    order = await shop.opened(kind)
    outcome = await town.issue(order)
    assert outcome.booked is not None
    assert outcome.booked.state is State.PENDING


async def test_an_order_that_came_too_late_is_not_issued(town: Town, shop: Shop) -> None:
    order = shop.order(issue_before=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(ApplicationError) as caught:
        await town.issue(order)
    assert (caught.value.type, caught.value.non_retryable) == (WINDOW_MISSED, True)
    assert await town.books.reads.invoice(shop.id, order.invoice_id) is None
    assert await town.bills(order) == []


@pytest.mark.parametrize(("late", "events"), [(True, 1), (False, 0)])
async def test_an_event_tells_a_bill_whose_http_answer_had_already_gone_out(
    town: Town, shop: Shop, late: bool, events: int
) -> None:
    answer_by = datetime.now(UTC) + timedelta(seconds=-1 if late else 60)
    order = shop.order(answer_by=answer_by)
    await town.issue(order)
    assert len(await shop.events(order.invoice_id)) == events


async def test_a_payment_id_that_another_bill_has_is_an_unknown_outcome(town: Town, shop: Shop) -> None:
    """The bank gives an id that is taken: nobody here can tell whose the new bill is."""
    elsewhere = await town.issued(await town.merchant())
    following = elsewhere.payment_id + 1
    await shop.pending(payment=following)
    order = shop.order()
    await town.issue(order)
    (bill,) = await town.bills(order)
    assert bill["id"] == following, "the emulator counts its payments up"
    invoice = await shop.invoice(order.invoice_id)
    assert (invoice.state, invoice.attention) == (State.PROCESSING, Attention.OUTCOME_UNKNOWN)
    assert invoice.bank_payment_id is None


@pytest.fixture
async def wire(postgres: Database) -> AsyncIterator[Wire]:
    """The line to the database, to be cut."""
    async with Wire(postgres.port) as line:
        yield line


async def test_the_banks_answer_survives_a_database_that_was_lost_meanwhile(
    town: Town, shop: Shop, postgres: Database, wire: Wire
) -> None:
    engine = create_engine(Database(wire.port, postgres.name, postgres.passwords).app_url, pool_size=2)
    await town.admin.fault("remote/create", "delay", delay_ms=4000)  # until the line is cut
    order = shop.order()
    before = await town.received("remote/create")
    issuing = asyncio.create_task(town.issue(order, Ledger(engine, town.books.renderer)))
    await claimed(shop, order)
    wire.cut()
    outcome = await issuing
    await engine.dispose()

    assert outcome.booked is None
    assert outcome.unwritten is not None
    (bill,) = await town.bills(order)
    assert outcome.unwritten.issued is not None
    assert outcome.unwritten.issued.bank_payment_id == bill["id"]
    assert (await shop.invoice(order.invoice_id)).state is State.PROCESSING
    # The workflow hands it to the book activity until the database is back.
    booked = await ActivityEnvironment().run(Booking(town.books.ledger).book, outcome.unwritten)
    assert (booked.state, booked.bank_payment_id) == (State.PENDING, bill["id"])
    assert await town.received("remote/create") == before + 1


async def test_without_a_database_the_bank_is_not_asked(town: Town, shop: Shop, postgres: Database, wire: Wire) -> None:
    engine = create_engine(Database(wire.port, postgres.name, postgres.passwords).app_url, pool_size=1)
    wire.cut()
    order = shop.order()
    with pytest.raises(DatabaseUnavailable):
        await town.issue(order, Ledger(engine, town.books.renderer))
    await engine.dispose()
    assert await town.bills(order) == []


async def test_a_claim_whose_commit_nobody_confirmed_still_sends_the_payer_his_one_bill(
    town: Town, shop: Shop, postgres: Database, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.issuing.OPEN_PAUSES", (0.02,) * 200)
    engine = create_engine(Database(wire.port, postgres.name, postgres.passwords).app_url, pool_size=1)
    ledger, order = Ledger(engine, town.books.renderer), shop.order()
    wire.mute_at(b"commit")
    issuing = asyncio.create_task(town.issue(order, ledger))
    await claimed(shop, order)
    assert await town.bills(order) == []
    wire.cut()
    await wire.refused_somebody()
    wire.mend()
    outcome = await issuing
    await engine.dispose()
    assert outcome.booked is not None
    assert (outcome.booked.state, outcome.booked.attention) == (State.PENDING, None)
    assert len(await town.bills(order)) == 1


async def test_a_worker_that_stops_books_the_answer_that_is_on_its_way(town: Town, shop: Shop) -> None:
    await town.admin.fault("remote/create", "delay", delay_ms=4000)  # until the worker has stopped
    order = shop.order()
    activity = Issuing(town.books.ledger, town.banks)
    running = asyncio.create_task(ActivityEnvironment().run(activity.issue, order))
    await claimed(shop, order)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await activity.drain()
    invoice = await shop.invoice(order.invoice_id)
    (bill,) = await town.bills(order)
    assert (invoice.state, invoice.bank_payment_id) == (State.PENDING, bill["id"])


async def test_a_crowd_at_one_bank_is_told_nothing_was_issued_unless_somebody_claimed(town: Town, shop: Shop) -> None:
    crowded = Issuing(town.books.ledger, town.banks, IssueLimits(longest_call=0.3, per_connection=0))
    order = shop.order()
    with pytest.raises(ApplicationError) as told:
        await ActivityEnvironment().run(crowded.issue, order)
    assert told.value.type == WINDOW_MISSED
    await town.books.ledger.open_invoice(order)  # another run claims, and dies
    outcome = await ActivityEnvironment().run(crowded.issue, order)
    assert outcome.booked is not None
    assert outcome.booked.attention is Attention.OUTCOME_UNKNOWN
