"""Processes that die at every step of a create and a cancel, under every fault of the bank, whose ledger judges."""

import asyncio
from dataclasses import dataclass

import msgspec
import pytest
from temporalio.exceptions import ApplicationError

from activities.bank_calls import BankCalls, PaymentRef
from activities.failures import WINDOW_MISSED
from activities.issuing import IssueLimits, IssueOutcome, Issuing
from domain.bank import BankFact, Verdict
from domain.invoice import Attention, Invoice, Kind, OpenInvoice, State
from tests.activities.crashes import FAULTS, Struck, struck
from tests.activities.mortal import Ended, Process
from tests.activities.town import Town
from tests.db.books import Shop

LIMITS = IssueLimits(longest_call=0.3)  # the tests know who is dead


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.issuing.NOT_SENT_PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr("activities.issuing.CLAIMER_STEP", 0.05)


@pytest.fixture(scope="module")
async def shop(town_of_run: Town) -> Shop:
    return await town_of_run.merchant()


# --- create


@dataclass
class Creation:
    """One order, and everybody who worked on it."""

    order: OpenInvoice
    processes: list[Process]
    last: Ended[IssueOutcome]

    @property
    def sent(self) -> int:
        return sum(one.calls["create"] for one in self.processes)


async def issue(bank: Struck, order: OpenInvoice, process: Process) -> Ended[IssueOutcome]:
    issuing = Issuing(process.ledger(bank.town.books.ledger), process.banks(bank.banks), LIMITS)
    return await process.run(issuing.issue, order)


async def created(bank: Struck, order: OpenInvoice, *deaths: int) -> Creation:
    """Processes that die at these moments, one after the other, and one that lives."""
    processes = [bank.process(moment) for moment in deaths]
    for process in processes:
        await issue(bank, order, process)
    survivor = bank.process()
    return Creation(order, [*processes, survivor], await issue(bank, order, survivor))


async def creations(bank: Struck, shop: Shop, kind: Kind) -> list[Creation]:
    """One that nobody disturbs, and one for each moment of its life."""
    await bank.strike()
    whole = await created(bank, shop.order(kind))
    moments = range(1, whole.processes[0].moments + 1)
    return [whole, *await asyncio.gather(*(created(bank, shop.order(kind), moment) for moment in moments))]


async def settled(bank: Struck, shop: Shop, creation: Creation) -> Invoice:
    """The invoice after one more process has looked at it, which must change nothing any more."""
    before = await shop.invoice(creation.order.invoice_id)
    later = bank.process()
    booked = (await issue(bank, creation.order, later)).outcome().booked
    assert booked is not None
    assert later.calls["create"] == 0
    assert (booked.state, booked.attention) == (before.state, before.attention)
    return before


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_process_that_dies_at_any_step_of_a_create_leaves_at_most_one_bill_and_the_truth(
    town: Town, shop: Shop, fault: str
) -> None:
    async with struck(town, "remote/create", fault) as bank:
        lives = await creations(bank, shop, Kind.PHONE)
        await bank.quiet("create")
        assert len(lives) == 1 + 4 * 3  # of, open_invoice, create, book
        ends = await asyncio.gather(*(judged_phone_bill(bank, shop, life) for life in lives))
        in_order = {"none": State.PENDING, "refusal": State.FAILED}
        assert ends[0] is in_order.get(fault, State.PROCESSING)
        assert State.PROCESSING in ends


async def judged_phone_bill(bank: Struck, shop: Shop, life: Creation) -> State:
    invoice = await settled(bank, shop, life)
    bills = await bank.town.bills(life.order)
    assert life.sent <= 1
    assert len(bills) == (life.sent if bank.executes else 0)
    if invoice.state is State.PENDING:
        assert [bill["id"] for bill in bills] == [invoice.bank_payment_id]
        assert invoice.attention is None
    elif invoice.state is State.FAILED:
        assert bills == []
        assert invoice.attention is None
    else:
        assert (invoice.state, invoice.attention) == (State.PROCESSING, Attention.OUTCOME_UNKNOWN)
        assert [event["type"] for event in await shop.events(invoice.id)] == ["invoice.attention_required"]
    return invoice.state


@pytest.mark.parametrize(("kind", "fault"), [(Kind.QR, "none"), (Kind.LINK, "none"), (Kind.QR, "execute_then_drop")])
async def test_a_process_that_dies_at_any_step_of_a_qr_leaves_a_token_of_the_bank_or_none(
    town: Town, shop: Shop, kind: Kind, fault: str
) -> None:
    async with struck(town, "qr/create" if kind is Kind.QR else "qr/create-link", fault) as bank:
        lives = await creations(bank, shop, kind)
        await bank.quiet("create")
        for life in lives:
            invoice = await settled(bank, shop, life)
            bills = {bill["id"]: bill for bill in await town.bills(life.order)}
            assert len(bills) == (life.sent if bank.executes else 0)
            # A token that reached nobody can't be paid; what we show is one that the bank knows.
            assert invoice.state is (State.PENDING if fault == "none" else State.FAILED)
            shown = (invoice.qr_token, invoice.payment_link)
            if fault == "none":
                bill = bills[invoice.bank_payment_id]
                assert shown == ((bill["qr_token"], None) if kind is Kind.QR else (None, bill["payment_link"]))
            else:
                assert (shown, invoice.bank_payment_id) == ((None, None), None)


async def test_processes_that_die_one_after_the_other_never_make_a_second_bill(town: Town, shop: Shop) -> None:
    async with struck(town, "remote/create", "none") as bank:
        await bank.strike()
        # What a second process does before it knows of the first, and what it does about it.
        deaths = [(first, second) for first in range(1, 13) for second in (4, 6, 9)]
        lives = await asyncio.gather(*(created(bank, shop.order(), *moments) for moments in deaths))
        await bank.quiet("create")
        await asyncio.gather(*(judged_phone_bill(bank, shop, life) for life in lives))


@pytest.mark.parametrize(("kind", "call"), [(Kind.PHONE, "remote/create"), (Kind.QR, "qr/create")])
async def test_a_story_told_again_from_the_books_after_any_death_never_calls_the_bank(
    town: Town, shop: Shop, kind: Kind, call: str
) -> None:
    async with struck(town, call, "none") as bank:
        await bank.strike()
        orders = [shop.order(kind) for _ in range(4 * 3)]
        lives = await asyncio.gather(*(retold(bank, order, at) for at, order in enumerate(orders, start=1)))
        await bank.quiet("create")
        for life in lives:
            assert life.processes[-1].calls["create"] == 0
            if life.last.error is not None:  # the first died before anything was written
                assert isinstance(life.last.error, ApplicationError)
                assert (life.last.error.type, life.sent) == (WINDOW_MISSED, 0)
            elif kind is Kind.PHONE:
                await judged_phone_bill(bank, shop, life)
            else:
                invoice = await settled(bank, shop, life)
                assert (invoice.state is State.PENDING) == (invoice.qr_token is not None)
                assert invoice.state in {State.PENDING, State.FAILED}
        assert {life.last.error is None for life in lives} == {True, False}


async def retold(bank: Struck, order: OpenInvoice, moment: int) -> Creation:
    first, watchdog = bank.process(moment), bank.process()
    await issue(bank, order, first)
    again = msgspec.structs.replace(order, resumed=True)
    return Creation(order, [first, watchdog], await issue(bank, again, watchdog))


# --- cancel


@dataclass
class Cancellation:
    payment: PaymentRef
    processes: list[Process]
    last: Ended[Verdict]

    @property
    def sent(self) -> int:
        return sum(one.calls["cancel"] for one in self.processes)


async def cancel(bank: Struck, payment: PaymentRef, process: Process) -> Ended[Verdict]:
    calls = BankCalls(process.banks(bank.banks), process.ledger(bank.town.books.ledger))
    return await process.run(calls.cancel_remote, payment)


async def canceled(bank: Struck, payment: PaymentRef, moment: int | None, *, paid_between: bool) -> Cancellation:
    processes = [] if moment is None else [bank.process(moment)]
    for process in processes:
        await cancel(bank, payment, process)
    if paid_between:
        await try_to_pay(bank.town, payment)
    survivor = bank.process()
    return Cancellation(payment, [*processes, survivor], await cancel(bank, payment, survivor))


async def try_to_pay(town: Town, payment: PaymentRef) -> None:
    """The payer's finger; the bank says 409 where the bill is withdrawn already."""
    answer = await town.admin.client.post(f"/emulator/purchases/{payment.payment_id}/pay")
    assert answer.status_code in {200, 409}, answer.text


@pytest.mark.parametrize(
    ("fault", "paid_between"), [*((fault, False) for fault in FAULTS), ("none", True), ("execute_then_drop", True)]
)
async def test_a_process_that_dies_at_any_step_of_a_cancel_never_says_canceled_of_what_is_not(
    town: Town, shop: Shop, fault: str, paid_between: bool
) -> None:
    async with struck(town, "remote/cancel", fault) as bank:
        # Undisturbed; cancel_asked, of, cancel.
        payments = await asyncio.gather(*(town.issued(shop) for _ in range(1 + 3 * 3)))
        await bank.strike()
        moments = [None, *range(1, len(payments))]
        ends = await asyncio.gather(
            *(canceled(bank, one, at, paid_between=paid_between) for one, at in zip(payments, moments, strict=True))
        )
        await bank.quiet("cancel")
        assert ends[0].processes[0].moments == len(payments) - 1
        facts = await asyncio.gather(*(judged_cancel(bank, shop, end) for end in ends))
        if not paid_between:
            # The survivor always asks, so with a bank that does what it is asked every bill is withdrawn.
            assert {fact.verdict for fact in facts} == {Verdict.CANCELED if bank.executes else Verdict.WAITING}
        else:
            assert Verdict.PAID in {fact.verdict for fact in facts}


async def judged_cancel(bank: Struck, shop: Shop, end: Cancellation) -> BankFact:
    invoice_id, town = end.payment.invoice_id, bank.town
    bill = await town.admin.call("GET", f"purchases/{end.payment.payment_id}")
    fact = (await bank.process().run(town.calls.read_status, end.payment)).outcome()
    assert fact.word == bill["status"]
    assert (fact.verdict is Verdict.PAID) == (bill["payments"] == 1)
    if end.last.result is Verdict.CANCELED:
        assert fact.verdict is Verdict.CANCELED
    # The wish is written down before the bank hears of it: a plain "Error" later reads as canceled.
    watch = await shop.watch(invoice_id)
    assert watch is not None
    assert end.sent > 0
    assert watch["cancel_requested"] is True
    assert (await shop.invoice(invoice_id)).state is State.PENDING  # only the bank's word, read, closes a bill
    return fact
