from hypothesis import given
from hypothesis import strategies as st

from domain.bank import Verdict, next_step
from domain.invoice import (
    CLOSED_UNPAID,
    OPEN,
    TRANSITIONS,
    PublicStatus,
    Reason,
    State,
    bank_reference,
    can_become,
    public_status,
    states_of,
)

MONEY_IN = {State.PAID, State.PARTIALLY_REFUNDED, State.REFUNDED}


def test_the_table_of_changes_names_every_state_once() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(State) == OPEN | CLOSED_UNPAID | MONEY_IN
    assert len(OPEN) + len(CLOSED_UNPAID) + len(MONEY_IN) == len(State)


@given(st.lists(st.sampled_from(State), max_size=30))
def test_no_walk_loses_money_that_came(wishes: list[State]) -> None:
    state, walked = State.PROCESSING, [State.PROCESSING]
    for wish in wishes:
        if can_become(state, wish):
            state = wish
            walked.append(state)
    paid_at = next((place for place, one in enumerate(walked) if one in MONEY_IN), len(walked))
    assert set(walked[paid_at:]) <= MONEY_IN
    assert paid_at == len(walked) or walked[paid_at] is State.PAID
    # A closed bill reopens never: from there only late money leads on.
    closed_at = next((place for place, one in enumerate(walked) if one in CLOSED_UNPAID), len(walked))
    assert set(walked[closed_at + 1 :]) <= MONEY_IN


def test_staying_is_not_a_change() -> None:
    assert not any(can_become(state, state) for state in State)


def test_every_state_can_still_learn_that_it_was_paid_until_it_is() -> None:
    assert {state for state in State if can_become(state, State.PAID)} == OPEN | CLOSED_UNPAID


def test_every_state_has_its_public_word_and_back() -> None:
    assert {state: public_status(state) for state in State} == {
        State.PROCESSING: PublicStatus.PROCESSING,
        State.PENDING: PublicStatus.PENDING,
        State.PAID: PublicStatus.PAID,
        State.CANCELED: PublicStatus.CANCELED,
        State.EXPIRED: PublicStatus.CANCELED,
        State.FAILED: PublicStatus.CANCELED,
        State.PARTIALLY_REFUNDED: PublicStatus.PAID,
        State.REFUNDED: PublicStatus.REFUNDED,
    }
    shown = [state for word in PublicStatus for state in states_of(word)]
    assert sorted(shown) == sorted(State)


def test_the_reference_in_the_banks_comment_is_short_and_of_the_id() -> None:
    assert bank_reference("inv_q3mjn2v7o5y3c6d2xk4wz7h5ua") == "T-q3mjn2v7o5"


def test_every_verdict_leads_where_it_must_and_a_strange_word_nowhere() -> None:
    steps = {verdict: next_step(verdict, cancel_requested=False) for verdict in Verdict}
    assert steps == {
        Verdict.WAITING: None,
        Verdict.UNKNOWN: None,
        Verdict.SCANNED: (State.PROCESSING, Reason.PAYER_CONFIRMING),
        Verdict.PAID: (State.PAID, None),
        Verdict.FAILED: (State.FAILED, Reason.DECLINED_OR_ERROR),
        Verdict.CANCELED: (State.CANCELED, Reason.CANCELED_AT_BANK),
        Verdict.REJECTED: (State.CANCELED, Reason.REJECTED_BY_PAYER),
        Verdict.EXPIRED: (State.EXPIRED, Reason.EXPIRED),
    }
    assert all(can_become(State.PENDING, step[0]) for step in steps.values() if step)


def test_a_wish_to_cancel_explains_the_banks_plain_error_and_never_hides_a_payment() -> None:
    steps = {verdict: next_step(verdict, cancel_requested=True) for verdict in Verdict}
    canceled = (State.CANCELED, Reason.CANCELED_BY_MERCHANT)
    changed = {verdict for verdict in Verdict if steps[verdict] != next_step(verdict, cancel_requested=False)}
    assert changed == {Verdict.CANCELED, Verdict.FAILED}
    assert steps[Verdict.CANCELED] == steps[Verdict.FAILED] == canceled
    assert steps[Verdict.PAID] == (State.PAID, None)
