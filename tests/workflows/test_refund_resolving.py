"""An operator settles a refund that machines cannot judge; what the bank's sums contradict is refused."""

import asyncio
from datetime import timedelta

import pytest

from activities import failures
from domain.errors import Code, TolemError
from domain.refund import RefundAttention, RefundReason, RefundState, Sums
from tests.workflows.refund_scene import AFTER, AMOUNT, DEAD, DONE, LOST, PAID, REFUSED, RETURN_ID, Line
from tests.workflows.refund_stage import NewRefund, StagedRefund
from tests.workflows.scene import away, final
from workflows.refund_messages import RefundResolution

PROCESSING = RefundState.PROCESSING
UNSETTLED = RefundAttention.OUTCOME_UNKNOWN
OUTSIDE = RefundAttention.REFUNDED_OUTSIDE
TOO_HIGH = RefundAttention.AVAILABLE_TOO_HIGH
EXECUTED, NOT_EXECUTED = RefundResolution.EXECUTED, RefundResolution.NOT_EXECUTED
RECHECK, RETRY = RefundResolution.RECHECK, RefundResolution.RETRY
COMPLETED = Line("completed", RefundState.COMPLETED)
READ_BACK = Line("completed", RefundState.COMPLETED, None, RefundReason.READ_BACK)
DECLARED = Line("completed", RefundState.COMPLETED, None, RefundReason.DECLARED_EXECUTED)
DECLARED_NOT = Line("failed", RefundState.FAILED, None, RefundReason.DECLARED_NOT_EXECUTED)


async def unsettled(refund: StagedRefund) -> StagedRefund:
    """Two answers lost, and nothing in the sums."""
    refund.scene.acts += [LOST, LOST]
    await refund.open()
    await refund.scene.until_asked("give back")
    await refund.skip(AFTER)
    await refund.scene.until_asked("give back", 2)
    await refund.skip(AFTER)
    await refund.until_attention(UNSETTLED)
    return refund


async def outside(refund: StagedRefund, *, cashier: int = 15_000) -> StagedRefund:
    """One answer lost, and the sums changed by somebody else's refund."""
    refund.scene.acts.append(LOST)
    await refund.open()
    await refund.scene.until_asked("give back")
    refund.scene.available -= cashier
    await refund.skip(timedelta(seconds=2))
    await refund.until_attention(OUTSIDE)
    return refund


async def too_high(refund: StagedRefund) -> StagedRefund:
    """The bank has more than our books say."""
    refund.scene.recorded(expected=PAID - 20_000)
    await refund.open()
    await refund.scene.until_asked("sums")
    await refund.skip(AFTER)
    await refund.until_attention(TOO_HIGH)
    return refund


async def refused(refund: StagedRefund, action: RefundResolution) -> TolemError:
    """Nothing may be booked."""
    before = list(refund.scene.lines)
    with pytest.raises(TolemError) as caught:
        await refund.resolve(action)
    assert refund.scene.lines == before
    return caught.value


# --- outcome unknown


async def test_what_the_app_shows_as_not_done_is_declared_failed_and_frees_the_money(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    await refund.resolve(NOT_EXECUTED, by="aigul", note="not in the app")
    assert await refund.result() is RefundState.FAILED
    assert refund.scene.lines[-1] == DECLARED_NOT
    change = refund.scene.changes[-1]
    assert (change.operator, change.note, change.refunded_outside) == ("aigul", "not in the app", 0)
    assert len(refund.scene.sent) == 2


async def test_not_executed_is_refused_when_the_sums_show_the_refund(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    refund.scene.available -= AMOUNT
    error = await refused(refund, NOT_EXECUTED)
    assert error.details == {"reason": "the_banks_sums_show_the_refund"}
    assert await refund.result() is RefundState.COMPLETED


async def test_a_bank_that_cannot_be_asked_before_anything_was_sent_is_a_case_that_can_be_given_up(
    new_refund: NewRefund,
) -> None:
    refund = new_refund()
    refund.scene.shown = away()
    await refund.open()
    await refund.scene.until_asked("sums")
    await refund.skip(AFTER)
    await refund.until_attention(RefundAttention.OUTCOME_UNKNOWN)
    refund.scene.shown = PAID
    assert (await refused(refund, EXECUTED)).details == {"reason": "nothing_was_sent"}
    refund.scene.shown = away()
    await refund.resolve(NOT_EXECUTED, by="aigul")
    assert await refund.result() is RefundState.FAILED
    assert refund.scene.sent == []


async def test_a_bank_that_can_be_asked_again_gets_the_refund_it_was_never_sent(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.shown = away()
    await refund.open()
    await refund.scene.until_asked("sums")
    await refund.skip(AFTER)
    await refund.until_attention(RefundAttention.OUTCOME_UNKNOWN)
    refund.scene.shown = None
    await refund.nudge()
    assert await refund.result() is RefundState.COMPLETED
    assert len(refund.scene.sent) == 1


async def test_a_payment_of_another_amount_that_somebody_accepted_is_judged_by_what_was_paid(
    new_refund: NewRefund,
) -> None:
    refund = new_refund()
    refund.scene.total += 10_000
    refund.scene.available += 10_000
    await refund.open()
    assert await refund.result() is RefundState.COMPLETED
    assert [one.outside for one in refund.scene.sent] == [0]


async def test_who_decides_in_the_temporal_ui_has_a_name_too(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    await refund.resolve(NOT_EXECUTED)
    assert refund.scene.changes[-1].operator == "temporal-ui"


async def test_executed_is_refused_when_the_sums_show_no_such_refund(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    error = await refused(refund, EXECUTED)
    assert error.code is Code.ILLEGAL_TRANSITION
    assert error.details == {"reason": "the_banks_sums_show_no_such_refund"}
    refund.scene.available -= AMOUNT - 1
    assert (await refused(refund, EXECUTED)).code is Code.ILLEGAL_TRANSITION
    refund.scene.available -= 1
    await refund.resolve(EXECUTED)
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.lines[-1] == DECLARED


async def test_a_recheck_of_sums_that_stand_still_changes_nothing(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    before = list(refund.scene.lines)
    await refund.resolve(RECHECK)
    assert refund.scene.lines == before
    await refund.resolve(NOT_EXECUTED)
    assert await refund.result() is RefundState.FAILED


async def test_a_recheck_finds_what_the_sums_show_by_now(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    refund.scene.available -= AMOUNT
    await refund.resolve(RECHECK)
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.lines[-1] == READ_BACK


async def test_a_retry_sends_once_more_where_the_sums_stand_still(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    await refund.resolve(RETRY, by="aigul")
    assert await refund.result() is RefundState.COMPLETED
    assert [one.number for one in refund.scene.sent] == [1, 2, 3]
    assert refund.scene.executed == 1
    assert refund.scene.changes[-2].operator == "aigul"


async def test_a_retry_that_would_be_a_second_refund_is_not_sent(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    refund.scene.available -= AMOUNT
    await refund.resolve(RETRY)
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.lines[-1] == READ_BACK
    assert len(refund.scene.sent) == 2


async def test_a_retry_whose_answer_is_lost_too_asks_again(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    refund.scene.acts.append(LOST)
    await refund.resolve(RETRY)
    await refund.scene.until_asked("give back", 3)
    await refund.skip(AFTER)
    await refund.until_attention(UNSETTLED)
    assert [line.attention for line in refund.scene.lines] == [UNSETTLED, None, UNSETTLED]
    assert len(refund.scene.sent) == 3
    await refund.resolve(NOT_EXECUTED)
    assert await refund.result() is RefundState.FAILED


async def test_a_bank_that_does_not_answer_settles_nothing(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    refund.scene.shown = final(failures.BANK_REFUSED)
    for action in RefundResolution:
        assert (await refused(refund, action)).code is Code.KASPI_UNAVAILABLE
    refund.scene.shown = None
    await refund.resolve(NOT_EXECUTED)
    assert await refund.result() is RefundState.FAILED


async def test_of_two_operators_the_second_is_told_that_it_is_settled(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    refund.scene.reads_open.clear()
    asked = refund.scene.asked.count("sums")
    first = asyncio.create_task(refund.resolve(NOT_EXECUTED))
    await refund.scene.until_asked("sums", asked + 1)
    second = asyncio.create_task(refund.resolve(RETRY))
    await asyncio.sleep(0.2)  # only helps the second to arrive in time: late, it is told the same
    refund.scene.reads_open.set()
    await first
    with pytest.raises(TolemError) as caught:
        await second
    assert caught.value.code in {Code.ILLEGAL_TRANSITION, Code.REFUND_CLOSED}
    assert await refund.result() is RefundState.FAILED
    assert len(refund.scene.sent) == 2


async def test_a_word_that_came_late_outweighs_the_operator(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    refund.scene.late_word(1, DONE)
    await refund.resolve(NOT_EXECUTED)
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.lines[-1] == COMPLETED
    assert refund.scene.changes[-1].bank_return_id == RETURN_ID


async def test_refusals_that_came_late_leave_the_case_to_the_operator(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    refund.scene.late_word(1, REFUSED)
    refund.scene.late_word(2, REFUSED)
    await refund.resolve(RECHECK, by="aigul")
    assert await refund.result() is RefundState.FAILED
    assert refund.scene.lines[-1] == Line("failed", RefundState.FAILED, None, RefundReason.REFUSED)


# --- somebody else refunded


async def test_somebody_elses_refund_is_noted_when_ours_did_not_happen(new_refund: NewRefund) -> None:
    refund = await outside(new_refund())
    await refund.skip(AFTER)
    await refund.resolve(NOT_EXECUTED)
    assert await refund.result() is RefundState.FAILED
    assert refund.scene.lines[-1] == DECLARED_NOT
    assert refund.scene.changes[-1].refunded_outside == 15_000


async def test_somebody_elses_refund_is_noted_beside_ours(new_refund: NewRefund) -> None:
    refund = await outside(new_refund(), cashier=AMOUNT + 15_000)
    await refund.resolve(EXECUTED)
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.lines[-1] == DECLARED
    assert refund.scene.changes[-1].refunded_outside == 15_000


@pytest.mark.parametrize("act", [LOST, DEAD], ids=["lost", "dead"])
async def test_nothing_is_declared_failed_while_the_bank_may_still_execute_it(
    new_refund: NewRefund, act: object
) -> None:
    refund = new_refund()
    refund.scene.acts.append(act)  # type: ignore[arg-type]
    await refund.open()
    await refund.scene.until_asked("give back")
    refund.scene.available -= 15_000
    await refund.skip(timedelta(seconds=2))
    await refund.until_attention(OUTSIDE)
    error = await refused(refund, NOT_EXECUTED)
    assert error.details == {"reason": "the_bank_may_still_execute_it"}
    await refund.skip(AFTER)
    await refund.resolve(NOT_EXECUTED)
    assert await refund.result() is RefundState.FAILED


async def test_what_somebody_else_refunded_is_never_tried_again(new_refund: NewRefund) -> None:
    refund = await outside(new_refund())
    error = await refused(refund, RETRY)
    assert error.details == {"attention": OUTSIDE.value, "choices": "recheck, executed, not_executed"}
    await refund.resolve(RECHECK)
    assert len(refund.scene.sent) == 1
    refund.scene.available = PAID - AMOUNT  # the cashier's was taken back, and ours stands
    await refund.resolve(RECHECK)
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.lines[-1] == READ_BACK


# --- sums that are too high


async def test_sums_that_have_come_down_let_it_go_on(new_refund: NewRefund) -> None:
    refund = await too_high(new_refund())
    await refund.resolve(RECHECK)
    assert refund.scene.sent == []
    for action in (EXECUTED, RETRY):
        assert (await refused(refund, action)).code is Code.ILLEGAL_TRANSITION
    refund.scene.available = PAID - 20_000
    await refund.resolve(RECHECK, by="aigul")
    assert await refund.result() is RefundState.COMPLETED
    assert [one.available for one in refund.scene.sent] == [PAID - 20_000]
    assert refund.scene.lines[1].cause == "rechecked:2"


async def test_what_was_never_sent_may_be_given_up(new_refund: NewRefund) -> None:
    refund = await too_high(new_refund())
    await refund.resolve(NOT_EXECUTED)
    assert await refund.result() is RefundState.FAILED
    assert refund.scene.lines[-1] == DECLARED_NOT
    assert refund.scene.sent == []


# --- without a case, and looking


@pytest.mark.parametrize("action", list(RefundResolution))
async def test_without_a_case_there_is_nothing_to_resolve(new_refund: NewRefund, action: RefundResolution) -> None:
    refund = new_refund()
    refund.scene.bank_open.clear()
    await refund.open()
    await refund.scene.until_asked("give back")
    error = await refused(refund, action)
    assert error.code is Code.ILLEGAL_TRANSITION
    assert error.details == {"attention": "none", "choices": "none"}
    refund.scene.bank_open.set()
    assert await refund.result() is RefundState.COMPLETED
    with pytest.raises(TolemError) as caught:
        await refund.resolve(action)
    assert caught.value.code is Code.REFUND_CLOSED


async def test_a_look_shows_books_bank_and_choices_and_changes_nothing(new_refund: NewRefund) -> None:
    refund = await unsettled(new_refund())
    before = list(refund.scene.lines)
    seen = await refund.look()
    assert (seen.standing.state, seen.standing.attention) == (PROCESSING, UNSETTLED)
    assert len(seen.standing.attempts) == 2
    assert seen.bank == Sums(total=PAID, available=PAID)
    assert seen.choices == [RECHECK, RETRY, EXECUTED, NOT_EXECUTED]
    refund.scene.shown = final(failures.BANK_REFUSED)
    assert (await refund.look()).bank is None
    assert refund.scene.lines == before
    refund.scene.shown = None
    await refund.resolve(NOT_EXECUTED)


async def test_a_look_at_a_sandbox_refund_asks_no_bank(new_refund: NewRefund) -> None:
    refund = new_refund(is_sandbox=True)
    refund.scene.blocked = True
    await refund.open()
    seen = await refund.look()
    assert (seen.standing.blocked, seen.bank, seen.choices) == (True, None, [])
    refund.scene.blocked = False
    await refund.nudge()
    assert await refund.result() is RefundState.COMPLETED
