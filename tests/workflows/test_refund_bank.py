"""A refund at its bank: the ordinary ends, and what a lost answer becomes."""

from datetime import timedelta

import pytest

from activities import failures
from domain.refund import RefundAttention, RefundReason, RefundState
from tests.workflows.refund_scene import (
    AFTER,
    AMOUNT,
    DEAD,
    DEAD_EXECUTED,
    DONE,
    LONGEST_CALL,
    LOST,
    LOST_EXECUTED,
    NOT_SENT,
    PAID,
    REFUSED,
    RETURN_ID,
    TOO_LARGE,
    WINDOW,
    Act,
    Line,
)
from tests.workflows.refund_stage import NewRefund, StagedRefund
from tests.workflows.scene import away, final

COMPLETED = Line("completed", RefundState.COMPLETED)
READ_BACK = Line("completed", RefundState.COMPLETED, None, RefundReason.READ_BACK)
REFUSAL = Line("failed", RefundState.FAILED, None, RefundReason.REFUSED)
PROCESSING = RefundState.PROCESSING
UNSETTLED = RefundAttention.OUTCOME_UNKNOWN
OUTSIDE = RefundAttention.REFUNDED_OUTSIDE
TOO_HIGH = RefundAttention.AVAILABLE_TOO_HIGH
NOT_FOUND = final(failures.BANK_NOT_FOUND)
MOMENT = timedelta(seconds=1)


async def lost(refund: StagedRefund, *acts: Act) -> None:
    """Opened, and sent so often without an answer."""
    refund.scene.acts.extend(acts)
    await refund.open()
    await refund.scene.until_asked("give back")


async def ended(refund: StagedRefund) -> list[Line]:
    await refund.result()
    return refund.scene.lines


async def test_a_refund_is_sent_once_and_told(new_refund: NewRefund) -> None:
    refund = new_refund(endpoints=("a", "b"))
    await refund.open()
    assert await refund.result() is RefundState.COMPLETED
    scene = refund.scene
    assert scene.lines == [COMPLETED]
    assert scene.changes[0].bank_return_id == RETURN_ID
    assert [(one.number, one.amount, one.available, one.outside) for one in scene.sent] == [(1, AMOUNT, PAID, 0)]
    assert sorted(scene.asked[-2:]) == ["post 1_a", "post 1_b"]
    assert scene.asked[:-2] == ["open", "turn", "sums", "give back", "book completed"]


@pytest.mark.parametrize("answer", [REFUSED, TOO_LARGE], ids=["refused", "too-large"])
async def test_a_typed_refusal_of_the_only_attempt_is_a_failure(new_refund: NewRefund, answer: object) -> None:
    refund = new_refund()
    refund.scene.acts.append(Act(answer))  # type: ignore[arg-type]
    await refund.open()
    (line,) = await ended(refund)
    assert (line.cause, line.state, line.reason) == ("failed", RefundState.FAILED, answer.reason)  # type: ignore[attr-defined]
    assert refund.scene.changes[0].bank_code == answer.bank_code  # type: ignore[attr-defined]
    assert refund.scene.asked.count("give back") == 1


async def test_what_was_not_sent_is_sent_later(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.acts += [Act(NOT_SENT), Act(NOT_SENT)]
    await refund.open()
    for number in (1, 2):
        await refund.scene.until_asked("give back", number)
        await refund.skip(timedelta(seconds=20))
    assert await ended(refund) == [COMPLETED]
    assert [one.number for one in refund.scene.sent] == [1, 2, 3]
    assert refund.scene.asked.count("sums") == 3  # each attempt has sums of its own


@pytest.mark.parametrize("act", [LOST_EXECUTED, DEAD_EXECUTED], ids=["lost", "dead"])
async def test_a_lost_answer_is_found_in_the_sums(new_refund: NewRefund, act: Act) -> None:
    refund = new_refund()
    await lost(refund, act)
    await refund.skip(MOMENT * 2)
    assert await ended(refund) == [READ_BACK]
    assert refund.scene.executed == 1


async def test_a_lost_answer_is_found_however_late_the_sums_show_it(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.shown = PAID
    await lost(refund, LOST_EXECUTED)
    await refund.skip(timedelta(seconds=40))
    assert refund.scene.asked.count("sums") > 2
    refund.scene.shown = None
    await refund.skip(AFTER)
    assert await ended(refund) == [READ_BACK]
    assert refund.scene.executed == len(refund.scene.sent) == 1


@pytest.mark.parametrize(("act", "waits"), [(LOST, WINDOW), (DEAD, WINDOW + LONGEST_CALL)], ids=["lost", "dead"])
async def test_an_attempt_that_did_not_happen_is_made_once_more_after_the_window(
    new_refund: NewRefund, act: Act, waits: timedelta
) -> None:
    refund = new_refund()
    await lost(refund, act)
    await refund.skip(waits - timedelta(seconds=1))
    assert len(refund.scene.sent) == 1
    await refund.skip(AFTER)
    assert await ended(refund) == [COMPLETED]
    assert [one.number for one in refund.scene.sent] == [1, 2]
    assert refund.scene.executed == 1


async def two_lost(refund: StagedRefund) -> None:
    await lost(refund, LOST, LOST)
    await refund.skip(AFTER)
    await refund.scene.until_asked("give back", 2)
    await refund.skip(AFTER)
    await refund.until_attention(UNSETTLED)
    assert len(refund.scene.sent) == 2


async def test_a_third_attempt_is_never_made_by_itself(new_refund: NewRefund) -> None:
    refund = new_refund(endpoints=("a",))
    await two_lost(refund)
    assert refund.scene.lines == [Line("attention:1", PROCESSING, UNSETTLED)]
    await refund.scene.until_asked("post 1_a")
    looks = refund.scene.asked.count("sums")
    await refund.skip(timedelta(hours=3))
    assert refund.scene.asked.count("sums") > looks  # and it goes on looking
    assert len(refund.scene.sent) == 2
    refund.scene.available -= AMOUNT  # the bank was slow, not deaf
    await refund.nudge()
    assert await ended(refund) == [Line("attention:1", PROCESSING, UNSETTLED), READ_BACK]
    assert await refund.shown() == ("completed", None)


async def test_two_attempts_that_both_happened_are_not_called_one(new_refund: NewRefund) -> None:
    refund = new_refund()
    await two_lost(refund)
    refund.scene.available -= 2 * AMOUNT
    await refund.nudge()
    await refund.until_attention(OUTSIDE)
    assert refund.scene.standing is not None
    assert refund.scene.standing.state is PROCESSING
    await refund.handle.terminate()


async def test_somebody_elses_refund_stops_ours(new_refund: NewRefund) -> None:
    refund = new_refund()
    await lost(refund, LOST)
    refund.scene.available -= 15_000
    await refund.skip(MOMENT * 2)
    await refund.until_attention(OUTSIDE)
    looks = refund.scene.asked.count("sums")
    await refund.skip(timedelta(hours=2))
    assert (len(refund.scene.sent), refund.scene.asked.count("sums")) == (1, looks)
    assert refund.scene.lines == [Line("attention:1", PROCESSING, OUTSIDE)]
    await refund.handle.terminate()


async def test_a_late_execution_that_shows_just_before_the_second_attempt_is_not_sent_again(
    new_refund: NewRefund,
) -> None:
    refund = new_refund()
    await lost(refund, LOST)
    await refund.skip(timedelta(seconds=90))
    looks = refund.scene.asked.count("sums")
    refund.scene.reads += [PAID, PAID - AMOUNT]  # the look that ends the window, unchanged, allows another attempt
    await refund.skip(AFTER)
    assert await ended(refund) == [READ_BACK]
    assert len(refund.scene.sent) == 1
    assert refund.scene.asked.count("sums") == looks + 2


async def test_a_refusal_of_the_second_attempt_is_no_word_about_the_first(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.shown = PAID
    await lost(refund, LOST_EXECUTED, Act(REFUSED))
    refund.scene.bank_open.clear()
    await refund.skip(AFTER)
    await refund.scene.until_asked("give back", 2)
    refund.scene.shown = None  # the sums show the first one while the second is refused
    refund.scene.bank_open.set()
    assert await ended(refund) == [READ_BACK]


async def test_a_refusal_of_both_in_the_sums_and_by_word_is_a_failure(new_refund: NewRefund) -> None:
    refund = new_refund()
    await lost(refund, LOST, Act(REFUSED))
    await refund.skip(AFTER)
    assert await ended(refund) == [REFUSAL]
    assert refund.scene.executed == 0


async def test_a_refusal_because_it_is_too_much_contradicts_the_sums_so_nobody_calls_it_failed(
    new_refund: NewRefund,
) -> None:
    """A full refund that was executed makes the bank refuse the second one, while its sums still lag (-99000005)."""
    refund = new_refund()
    refund.scene.shown = PAID
    await lost(refund, LOST_EXECUTED, Act(TOO_LARGE))
    await refund.skip(AFTER)
    await refund.until_attention(UNSETTLED)
    await refund.skip(timedelta(minutes=30))
    refund.scene.shown = None
    await refund.nudge()
    assert await ended(refund) == [Line("attention:1", PROCESSING, UNSETTLED), READ_BACK]


@pytest.mark.parametrize("first", [LOST_EXECUTED, LOST], ids=["executed", "not-executed"])
async def test_a_bank_that_cannot_be_read_asks_for_a_human_and_is_read_on(new_refund: NewRefund, first: Act) -> None:
    refund = new_refund()
    refund.scene.reads.append(PAID)
    refund.scene.shown = NOT_FOUND
    await lost(refund, first)
    await refund.skip(AFTER)
    await refund.until_attention(UNSETTLED)
    assert len(refund.scene.sent) == 1
    refund.scene.shown = None
    if first is LOST:
        # Nobody sends while an operator is asked: unchanged sums are his to judge.
        await refund.skip(timedelta(hours=2))
        assert len(refund.scene.sent) == 1
        refund.scene.available -= AMOUNT
    await refund.nudge()
    assert (await ended(refund))[-1] == READ_BACK


async def test_a_bank_that_refuses_to_tell_about_a_doubt_is_not_asked_in_a_rage(new_refund: NewRefund) -> None:
    refund = new_refund()
    await lost(refund, LOST, Act(REFUSED))
    refund.scene.bank_open.clear()
    await refund.skip(AFTER)
    await refund.scene.until_asked("give back", 2)
    refund.scene.shown = NOT_FOUND
    refund.scene.bank_open.set()
    await refund.until_attention(UNSETTLED)
    looks = refund.scene.asked.count("sums")
    await refund.skip(timedelta(minutes=10))
    assert refund.scene.asked.count("sums") - looks < 20
    refund.scene.shown = None
    refund.scene.available -= AMOUNT
    await refund.nudge()
    assert (await ended(refund))[-1] == READ_BACK


async def test_a_bank_that_refuses_to_tell_after_an_attempt_that_was_not_sent_is_not_asked_in_a_rage(
    new_refund: NewRefund,
) -> None:
    refund = new_refund()
    await lost(refund, LOST, Act(NOT_SENT))
    await refund.skip(AFTER)
    await refund.scene.until_asked("give back", 2)
    refund.scene.shown = NOT_FOUND
    await refund.skip(timedelta(minutes=1))
    await refund.until_attention(UNSETTLED)
    looks = refund.scene.asked.count("sums")
    await refund.skip(timedelta(hours=6))
    assert refund.scene.asked.count("sums") - looks < 40
    assert len(refund.scene.sent) == 2
    await refund.handle.terminate()


async def test_an_answer_that_only_the_story_heard_is_kept(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.acts.append(Act(DONE, executed=True, kept=False))
    await refund.open()
    assert await ended(refund) == [COMPLETED]
    assert refund.scene.asked.count("note") == 1
    assert refund.scene.changes[0].bank_return_id == RETURN_ID


@pytest.mark.parametrize("word", ["done", "refused"])
async def test_a_word_that_came_after_it_was_given_up_is_taken(new_refund: NewRefund, word: str) -> None:
    refund = new_refund()
    refund.scene.shown = PAID  # the sums say nothing
    await lost(refund, DEAD_EXECUTED if word == "done" else DEAD)
    await refund.skip(MOMENT * 2)
    await refund.scene.until_asked("sums", 2)  # the story reads back already
    refund.scene.late_word(1, DONE if word == "done" else REFUSED)
    await refund.skip(MOMENT * 40)
    assert await ended(refund) == [COMPLETED if word == "done" else REFUSAL]
    assert len(refund.scene.sent) == 1


async def test_a_late_done_of_the_first_outweighs_a_refusal_of_the_second(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.shown = PAID
    await lost(refund, DEAD_EXECUTED, Act(TOO_LARGE))
    refund.scene.bank_open.clear()
    await refund.skip(AFTER)
    await refund.scene.until_asked("give back", 2)
    refund.scene.late_word(1, DONE)
    refund.scene.bank_open.set()
    assert await ended(refund) == [COMPLETED]


# --- sums that do not fit our books


async def test_sums_that_lag_behind_an_earlier_refund_are_waited_for(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.recorded(expected=PAID - 20_000)
    refund.scene.available = PAID - 20_000
    refund.scene.shown = PAID
    await refund.open()
    await refund.scene.until_asked("sums")
    await refund.skip(MOMENT * 4)
    assert refund.scene.sent == []
    refund.scene.shown = None
    await refund.skip(timedelta(minutes=1))
    assert await ended(refund) == [COMPLETED]
    assert [one.available for one in refund.scene.sent] == [PAID - 20_000]


async def test_sums_that_stay_too_high_are_an_operators(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.recorded(expected=PAID - 20_000)
    await refund.open()
    await refund.scene.until_asked("sums")
    await refund.skip(AFTER)
    await refund.until_attention(TOO_HIGH)
    assert refund.scene.sent == []
    assert refund.scene.lines == [Line("attention:1", PROCESSING, TOO_HIGH)]
    await refund.handle.terminate()


async def test_what_the_bank_has_no_longer_is_refused_by_us_and_the_cashiers_part_is_known(
    new_refund: NewRefund,
) -> None:
    refund = new_refund()
    refund.scene.available = AMOUNT - 1
    await refund.open()
    assert await ended(refund) == [Line("failed", RefundState.FAILED, None, RefundReason.ABOVE_AVAILABLE)]
    assert refund.scene.changes[0].refunded_outside == PAID - AMOUNT + 1
    assert refund.scene.sent == []


async def test_a_cashiers_earlier_refund_is_noted_with_the_attempt(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.available = PAID - 10_000
    await refund.open()
    assert await ended(refund) == [COMPLETED]
    assert [(one.available, one.outside) for one in refund.scene.sent] == [(PAID - 10_000, 10_000)]


async def test_a_bank_that_refuses_to_tell_the_sums_was_sent_nothing(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.shown = NOT_FOUND
    await refund.open()
    assert await ended(refund) == [REFUSAL]
    assert refund.scene.sent == []


async def test_a_bank_that_is_away_before_anything_was_sent_is_waited_for(new_refund: NewRefund) -> None:
    refund = new_refund()
    refund.scene.reads.append(away())
    await refund.open()
    assert await ended(refund) == [COMPLETED]
    assert refund.scene.asked.count("sums") == 2


async def test_an_activity_that_never_came_to_its_intent_is_no_attempt(new_refund: NewRefund) -> None:
    refund = new_refund()
    real = refund.scene.intend
    failing = [True]

    def once(order: object) -> bool:
        return False if failing and failing.pop() else real(order)  # type: ignore[arg-type]

    refund.scene.intend = once  # type: ignore[method-assign]
    await refund.open()
    assert await ended(refund) == [COMPLETED]
    assert [one.number for one in refund.scene.sent] == [1]
