"""A refund's story around the bank: its record, its turn, being told again, and what does not stop it."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.exceptions import ApplicationError

from activities import failures
from domain.errors import Code, TolemError
from domain.refund import RefundAttention, RefundReason, RefundState, SimulatedRefund
from tests.workflows.bill import until_event
from tests.workflows.refund_scene import AFTER, AMOUNT, DONE, LOST, NOT_SENT, RETURN_ID, WINDOW, Act, Line
from tests.workflows.refund_stage import NewRefund
from tests.workflows.scene import MISSED
from workflows.client import NotIssued
from workflows.refund_messages import RefundResolution

COMPLETED = Line("completed", RefundState.COMPLETED)
READ_BACK = Line("completed", RefundState.COMPLETED, None, RefundReason.READ_BACK)
SIMULATED = RefundReason.SIMULATED
UNSETTLED = RefundAttention.OUTCOME_UNKNOWN


def refusal(*details: str) -> ApplicationError:
    return ApplicationError("refused", *details, type=failures.REFUND_REFUSED, non_retryable=True)


# --- recording


@pytest.mark.parametrize(
    ("code", "available"),
    [
        (Code.REFUND_EXCEEDS_AVAILABLE, "12.00"),
        (Code.INVOICE_NOT_PAID, ""),
        (Code.REFUND_UNSUPPORTED, ""),
        (Code.NOT_FOUND, ""),
    ],
)
async def test_the_books_refusal_crosses_with_its_code(new_refund: NewRefund, code: Code, available: str) -> None:
    refund = new_refund()
    refund.scene.refusals.append(refusal(code.value, available))
    with pytest.raises(TolemError) as caught:
        await refund.open()
    assert caught.value.code is code
    assert caught.value.details == ({"available": available} if available else {})
    assert refund.scene.asked == ["open"]


async def test_what_was_refused_may_be_asked_for_again_under_the_same_key(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.refusals.append(refusal(Code.INVOICE_NOT_PAID.value, ""))
    with pytest.raises(TolemError):
        await refund.open()
    await refund.open()
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.executed == 1


async def test_an_order_that_came_too_late_says_so(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.refusals.append(MISSED)
    with pytest.raises(NotIssued):
        await refund.open()
    assert refund.scene.asked == ["open"]


async def test_a_repeated_request_joins_the_first_and_another_body_is_refused(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.bank_open.clear()
    await asyncio.gather(refund.open(), refund.open())
    with pytest.raises(TolemError) as caught:
        await refund.open(fingerprint="e" * 64)
    assert caught.value.code is Code.IDEMPOTENCY_KEY_REUSED
    refund.scene.bank_open.set()
    assert await refund.result() is RefundState.COMPLETED
    await refund.open()  # the story is over: the books tell it
    assert refund.scene.asked.count("open") == refund.scene.executed == 1


# --- turns


async def test_the_next_refund_is_called_when_this_one_is_over(new_refund: NewRefund) -> None:
    first, second = new_refund(), new_refund("-second")
    second.scene.blocked = True
    first.scene.next_refund = second.order.refund_id
    first.scene.bank_open.clear()
    await first.open()
    await second.open()
    await first.scene.until_asked("give back")
    assert second.scene.asked == ["open"]
    second.scene.blocked = False
    first.scene.bank_open.set()
    assert await first.result() is RefundState.COMPLETED
    assert await second.result() is RefundState.COMPLETED
    assert second.scene.asked.count("turn") == 1


async def test_a_refund_whose_call_was_lost_finds_its_turn_by_itself(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.blocked = True
    await refund.open()
    await refund.skip(timedelta(minutes=2))
    assert refund.scene.asked.count("turn") == 2
    assert refund.scene.sent == []
    refund.scene.blocked = False
    await refund.skip(timedelta(minutes=2))
    assert await refund.result() is RefundState.COMPLETED


async def test_a_next_refund_without_a_story_holds_nothing_up(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.next_refund = "ref_lost"
    await refund.open()
    assert await refund.result() is RefundState.COMPLETED


# --- told again


async def test_a_story_told_again_reads_before_it_sends(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.acts.append(LOST)
    await refund.open()
    await refund.scene.until_asked("give back")
    await refund.handle.terminate()
    refund.scene.available -= AMOUNT  # it happened after all
    await refund.resume()
    await refund.skip(timedelta(seconds=2))
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.lines == [READ_BACK]
    assert len(refund.scene.sent) == 1


async def test_a_story_told_again_after_the_banks_word_sends_nothing(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.recorded(RefundState.PROCESSING)
    refund.scene.acts.append(LOST)
    await refund.scene.give_back(refund.scene.attempt())
    refund.scene.late_word(1, DONE)
    await refund.resume()
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.changes[0].bank_return_id == RETURN_ID
    assert "sums" not in refund.scene.asked


async def test_a_story_told_again_with_an_intent_of_a_dead_process_waits_for_the_longest_call(
    new_refund: NewRefund,
) -> None:
    refund = new_refund()
    refund.scene.recorded(RefundState.PROCESSING)
    refund.scene.intend(refund.scene.attempt())
    await refund.resume()
    await refund.skip(WINDOW + timedelta(seconds=2))  # longer than the window alone
    assert "give back" not in refund.scene.asked
    await refund.skip(AFTER)
    assert await refund.result() is RefundState.COMPLETED
    assert [one.number for one in refund.scene.sent] == [2]


async def test_a_story_told_again_that_nobody_ever_sent_is_sent(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.recorded()
    await refund.resume()
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.asked[:4] == ["open", "turn", "sums", "give back"]


async def test_a_story_told_again_of_what_was_never_recorded_fails(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.refusals.append(MISSED)
    await refund.resume()
    with pytest.raises(Exception, match="Workflow execution failed"):
        await refund.result()
    assert refund.scene.asked == ["open"]


async def test_a_story_told_again_when_all_is_over_tells_whom_it_must(new_refund: NewRefund) -> None:
    refund = new_refund(endpoints=("a",))
    refund.scene.recorded(RefundState.COMPLETED)
    refund.scene.lines.append(COMPLETED)
    await refund.resume()
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.asked == ["open", "post 1_a"]


# --- what does not stop it


async def test_a_click_on_cancel_changes_nothing(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.bank_open.clear()
    await refund.open()
    await refund.scene.until_asked("give back")
    await refund.handle.cancel()
    await until_event(refund.handle, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED)
    refund.scene.bank_open.set()
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.lines == [COMPLETED]
    assert len(refund.scene.sent) == 1


async def test_a_click_on_cancel_while_it_waits_changes_nothing(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.acts.append(Act(NOT_SENT))
    await refund.open()
    await refund.scene.until_asked("give back")
    await refund.handle.cancel()
    await refund.nudge()
    assert await refund.result() is RefundState.COMPLETED


# --- sandbox


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (SimulatedRefund.COMPLETED, Line("completed", RefundState.COMPLETED, None, SIMULATED)),
        (SimulatedRefund.FAILED, Line("failed", RefundState.FAILED, None, SIMULATED)),
    ],
)
async def test_the_simulated_bank_does_what_was_asked_for(
    new_refund: NewRefund, said: SimulatedRefund, line: Line
) -> None:
    refund = new_refund(is_sandbox=True, simulate=said)
    await refund.open()
    assert await refund.result() is line.state
    assert refund.scene.lines == [line]
    assert {"sums", "give back"} & set(refund.scene.asked) == set()


@pytest.mark.parametrize("said", [SimulatedRefund.COMPLETED, SimulatedRefund.FAILED])
async def test_a_sandbox_refund_that_waits_is_moved_by_the_simulator(
    new_refund: NewRefund, said: SimulatedRefund
) -> None:
    refund = new_refund(is_sandbox=True, simulate=SimulatedRefund.PENDING)
    await refund.open()
    await refund.scene.until_asked("turn")
    await refund.simulate(SimulatedRefund.ATTENTION)
    await refund.until_attention(UNSETTLED)
    await refund.simulate(said)
    assert (await refund.result()).value == said.value
    with pytest.raises(TolemError) as caught:
        await refund.simulate(said)
    assert caught.value.code is Code.REFUND_CLOSED


@pytest.mark.parametrize(
    ("action", "state", "reason"),
    [
        (RefundResolution.EXECUTED, RefundState.COMPLETED, RefundReason.DECLARED_EXECUTED),
        (RefundResolution.NOT_EXECUTED, RefundState.FAILED, RefundReason.DECLARED_NOT_EXECUTED),
    ],
)
async def test_a_sandbox_case_is_settled_as_a_live_one(
    new_refund: NewRefund, action: RefundResolution, state: RefundState, reason: RefundReason
) -> None:
    refund = new_refund(is_sandbox=True, simulate=SimulatedRefund.ATTENTION)
    await refund.open()
    await refund.until_attention(UNSETTLED)
    with pytest.raises(TolemError) as caught:
        await refund.resolve(RefundResolution.RECHECK)
    assert caught.value.code is Code.ILLEGAL_TRANSITION
    await refund.resolve(action, by="aigul", note="exercise")
    assert await refund.result() is state
    assert refund.scene.lines[-1] == Line(state.value, state, None, reason)
    assert (refund.scene.changes[-1].operator, refund.scene.changes[-1].note) == ("aigul", "exercise")


async def test_a_live_refund_cannot_be_simulated(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.bank_open.clear()
    await refund.open()
    with pytest.raises(TolemError) as caught:
        await refund.simulate(SimulatedRefund.COMPLETED)
    assert caught.value.code is Code.NOT_SANDBOX
    refund.scene.bank_open.set()
    assert await refund.result() is RefundState.COMPLETED
