"""Sandbox bills that act out a scenario: the story looks at the simulated bank by timers, and plays the operator."""

from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from activities import failures
from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.invoice import Attention, Kind, Reason, State
from domain.scenario import Scenario
from domain.scenarios import OPERATOR_AFTER, sandbox_payment_id
from tests.workflows.bill import Bill, NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import LATE_WATCH, fact, final
from workflows.invoice_messages import Resolution

ISSUED = Entry("issued", State.PENDING)
TWO_SECONDS = timedelta(seconds=2.2)
OPERATOR = timedelta(seconds=OPERATOR_AFTER + 0.2)
DOUBTED = Entry("outcome_unknown", State.PROCESSING, Attention.OUTCOME_UNKNOWN)


def scripted(bill: Bill, scenario: Scenario) -> Bill:
    bill.order = msgspec.structs.replace(bill.order, scenario=scenario)
    return bill


def scenes(bill: Bill) -> Iterator[tuple[Scenario, int, bool]]:
    """What the simulated bank was told of the scene, look by look."""
    for payment in bill.scene.read:
        assert payment.scene is not None
        yield payment.scene.scenario, payment.scene.look, payment.scene.cancel_asked


async def test_the_story_looks_at_the_simulated_bank_in_time(new_bill: NewBill) -> None:
    bill = scripted(new_bill(is_sandbox=True, endpoints=("a",)), Scenario.PAID)
    bill.scene.looks.append(fact(Verdict.PAID))
    await bill.issue()
    await bill.skip(TWO_SECONDS)
    assert await bill.result() is State.PAID
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]
    assert bill.scene.asked == ["issue", "look", "book paid", f"post {bill.delivery_id(2, 'a')}"]
    assert list(scenes(bill)) == [(Scenario.PAID, 1, False)]


async def test_a_word_nobody_knows_is_a_case_until_the_next_look(new_bill: NewBill) -> None:
    bill = scripted(new_bill(Kind.QR, is_sandbox=True), Scenario.UNKNOWN_WORD)
    bill.scene.looks += [fact(Verdict.UNKNOWN), fact(Verdict.PAID)]
    await bill.issue()
    await bill.skip(TWO_SECONDS * 2)
    assert await bill.result() is State.PAID
    assert ("pending", Attention.UNKNOWN_WORD.value) in await bill.shown_so_far()
    assert bill.scene.causes == ["issued", "unknown_word", "paid"]
    assert list(scenes(bill)) == [(Scenario.UNKNOWN_WORD, 1, False), (Scenario.UNKNOWN_WORD, 2, False)]


async def test_nobody_simulates_a_payer_of_a_bill_that_may_not_exist(new_bill: NewBill) -> None:
    bill = new_bill(is_sandbox=True)  # without a script, whose operator might be quicker than the payer
    bill.scene.issue_answers.append(Attention.OUTCOME_UNKNOWN)
    await bill.issue()
    with pytest.raises(TolemError) as caught:
        await bill.simulate(Verdict.PAID)
    assert caught.value.code is Code.ILLEGAL_TRANSITION
    await bill.resolve(Resolution.ABSENT)
    assert await bill.result() is State.FAILED


async def test_a_lost_answer_is_found_by_the_operator_the_sandbox_plays(new_bill: NewBill) -> None:
    bill = scripted(new_bill(is_sandbox=True), Scenario.ANSWER_LOST)
    bill.scene.issue_answers.append(Attention.OUTCOME_UNKNOWN)
    bill.scene.looks.append(fact(Verdict.PAID))
    await bill.issue()
    await bill.skip(OPERATOR)
    await bill.scene.until_asked("adopt")
    await bill.skip(TWO_SECONDS)
    assert await bill.result() is State.PAID
    shown = await bill.shown_so_far()
    assert shown.index(("processing", Attention.OUTCOME_UNKNOWN.value)) < shown.index(("pending", None))
    assert bill.entries == [DOUBTED, Entry("adopted", State.PENDING), Entry("paid", State.PAID)]
    assert bill.scene.book.payment_id == sandbox_payment_id(bill.order.invoice_id)


async def test_an_operator_who_was_not_heard_comes_again(new_bill: NewBill) -> None:
    bill = scripted(new_bill(is_sandbox=True), Scenario.ANSWER_LOST)
    bill.scene.issue_answers.append(Attention.OUTCOME_UNKNOWN)
    bill.scene.adoptions.append(final(failures.BANK_NOT_FOUND))
    bill.scene.looks.append(fact(Verdict.PAID))
    await bill.issue()
    await bill.skip(OPERATOR)
    await bill.scene.until_asked("adopt")
    await bill.skip(OPERATOR)
    await bill.scene.until_asked("adopt", 2)
    await bill.skip(TWO_SECONDS)
    assert await bill.result() is State.PAID
    assert ("pending", None) in await bill.shown_so_far()


async def test_a_bill_that_was_never_made_is_declared_absent(new_bill: NewBill) -> None:
    bill = scripted(new_bill(is_sandbox=True), Scenario.MALFORMED_ANSWER)
    bill.scene.issue_answers.append(Attention.OUTCOME_UNKNOWN)
    await bill.issue()
    await bill.skip(OPERATOR)
    assert await bill.result() is State.FAILED
    assert bill.entries == [DOUBTED, Entry("declared_absent", State.FAILED, None, Reason.DECLARED_ABSENT)]
    assert bill.scene.decisions == [("sandbox", None)]
    assert "look" not in bill.scene.asked


async def test_a_scripted_bill_expires_by_the_banks_word(new_bill: NewBill) -> None:
    bill = scripted(new_bill(is_sandbox=True), Scenario.EXPIRES)
    bill.scene.looks.append(fact(Verdict.EXPIRED))
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    assert bill.entries[-1] == Entry("expired", State.EXPIRED, None, Reason.EXPIRED)
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.EXPIRED
    assert bill.scene.asked == ["issue", "look", "book expired"]


async def test_the_simulated_bank_is_asked_to_cancel_and_the_payment_wins(new_bill: NewBill) -> None:
    bill = scripted(new_bill(is_sandbox=True), Scenario.PAYMENT_WINS)
    bill.scene.cancels.append(Verdict.PAID)
    bill.scene.looks.append(fact(Verdict.PAID))
    await bill.issue()
    with pytest.raises(TolemError) as caught:
        await bill.cancel()
    assert caught.value.code is Code.INVOICE_ALREADY_PAID
    assert await bill.result() is State.PAID
    assert bill.scene.asked == ["issue", "cancel", "look", "book paid"]
    assert list(scenes(bill)) == [(Scenario.PAYMENT_WINS, 1, True)]


async def test_whoever_simulates_is_quicker_than_the_script(new_bill: NewBill) -> None:
    bill = scripted(new_bill(is_sandbox=True), Scenario.PAID)
    await bill.issue()
    await bill.simulate(Verdict.CANCELED)
    await bill.skip(TWO_SECONDS)
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.CANCELED
    assert bill.scene.asked[-1] == "book canceled"  # and no look after it


async def test_a_look_that_settles_nothing_is_made_again(new_bill: NewBill) -> None:
    bill = scripted(new_bill(is_sandbox=True), Scenario.THROTTLED)
    bill.scene.looks += [fact(Verdict.WAITING), fact(Verdict.PAID)]
    await bill.issue()
    await bill.skip(TWO_SECONDS)
    await bill.scene.until_asked("look")
    await bill.skip(timedelta(seconds=31))
    assert await bill.result() is State.PAID
    assert list(scenes(bill)) == [(Scenario.THROTTLED, 1, False), (Scenario.THROTTLED, 2, False)]


async def test_a_story_told_again_plays_its_script_from_the_beginning(new_bill: NewBill) -> None:
    bill = scripted(new_bill(is_sandbox=True), Scenario.PAID)
    await bill.issue()
    await bill.handle.terminate()
    told = bill.scene.asked.count("look")
    bill.scene.looks.append(fact(Verdict.PAID))
    await bill.stage.engine.resume_invoice(bill.order)
    await bill.skip(TWO_SECONDS)
    assert await bill.result() is State.PAID
    assert bill.scene.asked.count("look") == told + 1


async def test_a_live_bill_has_no_script_whatever_its_order_says(new_bill: NewBill) -> None:
    bill = scripted(new_bill(Kind.LINK), Scenario.PAID)
    await bill.issue()
    await bill.skip(timedelta(seconds=40))
    assert bill.scene.asked == ["issue"]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID
    assert bill.scene.read == []
