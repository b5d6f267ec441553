from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.bank import BankFact, Verdict
from domain.invoice import CLOSED_UNPAID, OPEN, Attention, Kind, Reason, State
from domain.money import MAX_TIYN
from domain.reconciliation import (
    PAIRS,
    Detail,
    Finding,
    LineVerdict,
    Ours,
    StatementPayment,
    Theirs,
    is_paid,
    judge,
    judge_statement,
)
from domain.reconciliation_run import (
    Action,
    Batch,
    Line,
    Source,
    Tally,
    Totals,
    added,
    compared_period,
)
from domain.refund import Sums

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
TIYN = st.integers(1, MAX_TIYN)
PAID_STATES = [state for state in State if is_paid(state)]


def ours(state: State = State.PAID, amount: int = 1_000, **fields: object) -> Ours:
    base = Ours(
        invoice_id="inv_1",
        connection_id="con_1",
        kind=Kind.PHONE,
        bank_payment_id=7,
        state=state,
        amount=amount,
        created_at=NOW,
        payable_until=NOW + timedelta(hours=1),
    )
    return msgspec.structs.replace(base, **fields)


def theirs(verdict: Verdict = Verdict.PAID, amount: int | None = None, sums: Sums | None = None) -> Theirs:
    return Theirs(fact=BankFact(word=verdict.value, verdict=verdict, seen_at=NOW, amount=amount), sums=sums)


@st.composite
def books(draw: st.DrawFn) -> Ours:
    amount = draw(TIYN)
    refunded = draw(st.integers(0, amount))
    return ours(
        draw(st.sampled_from(State)),
        amount,
        refunded=refunded,
        refunded_outside=draw(st.integers(0, amount - refunded)),
        attention=draw(st.none() | st.sampled_from(Attention)),
        status_reason=draw(st.none() | st.sampled_from(Reason)),
        payable_until=draw(st.none() | st.just(NOW) | st.just(NOW + timedelta(hours=1))),
        refunds_settling=draw(st.booleans()),
        amount_accepted=draw(st.booleans()),
    )


@st.composite
def answers(draw: st.DrawFn) -> Theirs | None:
    if draw(st.integers(0, 9)) == 0:
        return None
    total = draw(TIYN)
    sums = Sums(total=total, available=draw(st.integers(0, total))) if draw(st.booleans()) else None
    return theirs(draw(st.sampled_from(Verdict)), draw(st.none() | st.just(total) | TIYN), sums)


def test_the_table_is_total() -> None:
    standings = {standing for standing, _ in PAIRS}
    assert len(standings) == 3
    assert set(PAIRS) == {(standing, verdict) for standing in standings for verdict in Verdict}


@given(books(), answers())
def test_a_finding_is_whole(mine: Ours, bank: Theirs | None) -> None:
    found = judge(mine, bank, NOW)
    if found.verdict is LineVerdict.MATCHED:
        assert (found.attention, found.cause, found.news, found.refunded_outside) == (None, "", False, None)
        return
    assert found.detail is not None
    assert found.verdict is not LineVerdict.MISSING_HERE
    assert (found.attention is None) == (found.cause == "")
    assert not found.cause or found.cause.startswith("reconciled:")
    assert not found.news or not is_paid(mine.state), "a story has nothing to book once it is paid"


@given(books(), answers())
def test_the_same_facts_give_the_same_cause(mine: Ours, bank: Theirs | None) -> None:
    later = (
        None if bank is None else msgspec.structs.replace(bank, fact=msgspec.structs.replace(bank.fact, seen_at=NOW))
    )
    assert judge(mine, later, NOW) == judge(mine, bank, NOW)


@given(books(), answers())
def test_money_there_and_not_here_is_never_silent(mine: Ours, bank: Theirs | None) -> None:
    found = judge(mine, bank, NOW)
    if bank is not None and bank.fact.verdict is Verdict.PAID and not is_paid(mine.state):
        assert found.verdict is not LineVerdict.MATCHED
        assert found.news or found.attention is Attention.AMOUNT_MISMATCH


@given(books(), answers())
def test_money_here_and_not_there_is_never_silent(mine: Ours, bank: Theirs | None) -> None:
    found = judge(mine, bank, NOW)
    if is_paid(mine.state) and (bank is None or bank.fact.verdict is not Verdict.PAID):
        assert found.verdict in {LineVerdict.MISSING_AT_BANK, LineVerdict.STATUS_DIFFERS}
        assert found.attention is not None


@given(st.sampled_from(PAID_STATES), TIYN, st.data())
def test_sums_that_agree_match_and_others_do_not(state: State, amount: int, data: st.DataObject) -> None:
    refunded = data.draw(st.integers(0, amount))
    outside = data.draw(st.integers(0, amount - refunded))
    available = data.draw(st.integers(0, amount))
    mine = ours(state, amount, refunded=refunded, refunded_outside=outside)
    found = judge(mine, theirs(amount=amount, sums=Sums(total=amount, available=available)), NOW)
    expected = amount - refunded - outside
    if available == expected:
        assert found == Finding()
    elif available < expected:
        assert found.verdict is LineVerdict.REFUNDED_OUTSIDE
        assert found.refunded_outside == amount - available - refunded
        # Once it is in the books, both sides agree: nothing is told twice.
        raised = msgspec.structs.replace(mine, refunded_outside=found.refunded_outside)
        assert judge(raised, theirs(sums=Sums(total=amount, available=available)), NOW) == Finding()
    else:
        assert (found.verdict, found.detail) == (LineVerdict.STATUS_DIFFERS, Detail.REFUND_NOT_AT_BANK)


@given(books(), answers())
def test_sums_are_not_judged_while_a_refund_is_settling(mine: Ours, bank: Theirs | None) -> None:
    found = judge(msgspec.structs.replace(mine, refunds_settling=True), bank, NOW)
    assert found.verdict is not LineVerdict.REFUNDED_OUTSIDE
    assert found.detail is not Detail.REFUND_NOT_AT_BANK


@pytest.mark.parametrize("state", sorted(CLOSED_UNPAID))
@pytest.mark.parametrize("verdict", [Verdict.WAITING, Verdict.SCANNED])
def test_a_closed_bill_that_can_still_be_paid(state: State, verdict: Verdict) -> None:
    found = judge(ours(state), theirs(verdict), NOW)
    assert (found.verdict, found.detail) == (LineVerdict.STATUS_DIFFERS, Detail.STILL_PAYABLE)
    assert judge(ours(state, payable_until=NOW), theirs(verdict), NOW) == Finding()
    assert judge(ours(state, payable_until=None), theirs(verdict), NOW) == Finding()


@pytest.mark.parametrize("state", sorted(OPEN))
def test_a_bank_that_is_ahead_is_news(state: State) -> None:
    for verdict in (Verdict.PAID, Verdict.FAILED, Verdict.CANCELED, Verdict.REJECTED, Verdict.EXPIRED):
        assert judge(ours(state), theirs(verdict), NOW).news
    for verdict in (Verdict.WAITING, Verdict.SCANNED):
        assert judge(ours(state), theirs(verdict), NOW) == Finding()


@given(st.sampled_from(sorted(CLOSED_UNPAID)))
def test_late_money_is_for_the_story(state: State) -> None:
    found = judge(ours(state), theirs(amount=1_000), NOW)
    assert (found.verdict, found.news) == (LineVerdict.PAID_AFTER_CLOSE, True)
    other = judge(ours(state), theirs(amount=999), NOW)
    assert (other.verdict, other.news) == (LineVerdict.AMOUNT_DIFFERS, True)
    raised = judge(ours(state, attention=Attention.AMOUNT_MISMATCH), theirs(amount=999), NOW)
    assert not raised.news, "its story has raised the case"


def test_an_accepted_amount_is_reported_and_not_asked_again() -> None:
    found = judge(ours(amount_accepted=True), theirs(amount=999), NOW)
    assert (found.verdict, found.detail, found.attention) == (LineVerdict.AMOUNT_DIFFERS, Detail.ACCEPTED, None)
    refunded = theirs(sums=Sums(total=999, available=900))
    assert judge(ours(amount_accepted=True), refunded, NOW).refunded_outside == 99


def test_a_payment_that_the_bank_does_not_know() -> None:
    assert judge(ours(), None, NOW).attention is Attention.PAYMENT_NOT_FOUND
    assert judge(ours(State.PENDING), None, NOW).attention is Attention.PAYMENT_NOT_FOUND
    closed = judge(ours(State.EXPIRED), None, NOW)
    assert (closed.verdict, closed.attention) == (LineVerdict.MISSING_AT_BANK, None)
    assert judge(ours(State.FAILED, status_reason=Reason.DECLARED_ABSENT), None, NOW) == Finding()


def said(paid: int | None = 1_000, refunded: int = 0) -> StatementPayment:
    return StatementPayment(bank_payment_id=7, paid=paid, refunded=refunded)


def test_a_statement_is_believed_about_money_and_not_about_status() -> None:
    assert judge_statement(ours(), said()) == Finding()
    assert judge_statement(ours(State.EXPIRED), said()).news, "the bank is asked first"
    assert judge_statement(ours(), said(paid=900)).verdict is LineVerdict.AMOUNT_DIFFERS
    assert judge_statement(ours(), said(paid=None)) == Finding()
    assert judge_statement(ours(refunded=300), said(refunded=300)) == Finding()
    # A statement may end before a refund: less than ours says nothing.
    assert judge_statement(ours(refunded=300), said(refunded=0)) == Finding()
    assert judge_statement(ours(refunded=300), said(refunded=500)).refunded_outside == 200
    settling = judge_statement(ours(refunds_settling=True), said(refunded=500))
    assert (settling.verdict, settling.detail) == (LineVerdict.MATCHED, Detail.REFUND_IN_FLIGHT)


LINES = st.builds(
    Line,
    source=st.just(Source.BANK),
    verdict=st.sampled_from([verdict for verdict in LineVerdict if verdict is not LineVerdict.MATCHED]),
    bank_payment_id=TIYN,
    action=st.sampled_from(Action),
    our_amount=st.none() | TIYN,
    bank_amount=st.none() | TIYN,
)
BATCHES = st.builds(
    Batch,
    source=st.just(Source.BANK),
    lines=st.lists(LINES, max_size=4),
    matched=st.builds(Tally, count=st.integers(0, 5), amount=TIYN),
)


@given(st.lists(BATCHES, max_size=4))
def test_totals_are_the_sum_of_the_batches(batches: list[Batch]) -> None:
    totals = Totals()
    for batch in batches:
        totals = added(totals, batch)
    matched = totals.bank.get(LineVerdict.MATCHED, Tally())
    assert matched.count == sum(batch.matched.count for batch in batches)
    every = [line for batch in batches for line in batch.lines]
    assert sum(tally.count for tally in totals.bank.values()) - matched.count == len(every)
    assert sum(totals.actions.values()) == len(every)
    assert totals.statement == {}
    assert msgspec.json.decode(msgspec.json.encode(totals), type=Totals) == totals


def test_the_compared_period() -> None:
    day = timedelta(days=1)
    nothing = (None, None)
    assert compared_period(NOW, 3, given=nothing, statement=None) == (NOW - 3 * day, NOW)
    statement = (NOW - 9 * day, NOW - 8 * day)
    assert compared_period(NOW, 3, given=nothing, statement=statement) == (
        NOW - 9 * day,
        NOW - 8 * day + timedelta(seconds=1),
    )
    assert compared_period(NOW, 3, given=(NOW - day, None), statement=statement) == (NOW - day, NOW)
    assert compared_period(NOW, 3, given=(None, NOW - day), statement=None) == (NOW - 4 * day, NOW - day)
    assert compared_period(NOW, 3, given=(NOW, NOW - day), statement=None) is None
    assert compared_period(NOW, 3, given=(NOW - 400 * day, NOW), statement=None) is None
