from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Code
from domain.invoice import Invoice, Kind, State
from domain.money import MAX_TIYN
from domain.refund import (
    OPEN_REFUNDS,
    REFUND_TRANSITIONS,
    REFUNDABLE,
    ReadBack,
    Refund,
    RefundAttention,
    RefundReason,
    RefundState,
    as_recorded,
    available_for_refund,
    read_back,
    refund_can_become,
    refund_refusal,
)

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
TIYN = st.integers(0, MAX_TIYN)


def invoice(
    state: State = State.PAID,
    amount: int = 1_000,
    *,
    refunded: int = 0,
    refund_pending: int = 0,
    refunded_outside: int = 0,
) -> Invoice:
    return Invoice(
        id="inv_1",
        merchant_id="mer_1",
        number=1,
        kind=Kind.QR,
        is_sandbox=False,
        amount=amount,
        state=state,
        created_at=NOW,
        updated_at=NOW,
        refunded=refunded,
        refund_pending=refund_pending,
        refunded_outside=refunded_outside,
    )


@st.composite
def paid_invoices(draw: st.DrawFn) -> Invoice:
    """Every combination of sums that the database allows; a cashier may have taken more than is left."""
    amount = draw(st.integers(1, MAX_TIYN))
    refunded = draw(st.integers(0, amount))
    state = State.REFUNDED if refunded == amount else State.PARTIALLY_REFUNDED if refunded else State.PAID
    return invoice(
        state,
        amount,
        refunded=refunded,
        refund_pending=draw(st.integers(0, amount - refunded)),
        refunded_outside=draw(st.integers(0, amount)),
    )


def test_the_table_of_changes_names_every_state_once_and_the_end_is_the_end() -> None:
    assert set(REFUND_TRANSITIONS) == set(RefundState)
    assert {state for state, news in REFUND_TRANSITIONS.items() if news} == OPEN_REFUNDS
    assert not any(refund_can_become(state, state) for state in RefundState)


@given(st.lists(st.sampled_from(RefundState), max_size=20))
def test_no_walk_completes_a_refund_that_was_never_at_the_bank(wishes: list[RefundState]) -> None:
    state, walked = RefundState.PENDING, [RefundState.PENDING]
    for wish in wishes:
        if refund_can_become(state, wish):
            state = wish
            walked.append(state)
    assert len(set(walked)) == len(walked) <= 3
    assert RefundState.COMPLETED not in walked or walked[-2:] == [RefundState.PROCESSING, RefundState.COMPLETED]
    assert {RefundState.COMPLETED, RefundState.FAILED} & set(walked[:-1]) == set()


@given(paid_invoices())
def test_what_is_available_never_exceeds_what_was_paid_and_has_not_gone(bill: Invoice) -> None:
    available = available_for_refund(bill)
    assert available >= 0
    assert bill.refunded + bill.refund_pending + available <= bill.amount
    taken = bill.refunded + bill.refund_pending + bill.refunded_outside
    assert available == (max(0, bill.amount - taken) if bill.state in REFUNDABLE else 0)


@given(paid_invoices(), st.none() | st.integers(1, MAX_TIYN))
def test_a_refund_is_allowed_exactly_up_to_what_is_available(bill: Invoice, asked: int | None) -> None:
    available = available_for_refund(bill)
    wanted = max(available, 1) if asked is None else asked
    expected = None if wanted <= available else (Code.REFUND_EXCEEDS_AVAILABLE, available)
    assert refund_refusal(bill, asked) == expected


@pytest.mark.parametrize("asked", [None, 1, 1_000])
@pytest.mark.parametrize("state", sorted(set(State) - REFUNDABLE - {State.REFUNDED}))
def test_what_was_not_paid_is_not_refunded(state: State, asked: int | None) -> None:
    assert available_for_refund(invoice(state)) == 0
    assert refund_refusal(invoice(state), asked) == (Code.INVOICE_NOT_PAID, None)


@pytest.mark.parametrize("asked", [None, 1])
def test_of_a_refunded_bill_nothing_is_left(asked: int | None) -> None:
    bill = invoice(State.REFUNDED, refunded=1_000)
    assert refund_refusal(bill, asked) == (Code.REFUND_EXCEEDS_AVAILABLE, 0)


@given(before=TIYN, now=TIYN, amount=st.integers(1, MAX_TIYN))
def test_a_lost_answer_is_judged_by_the_sums_alone(before: int, now: int, amount: int) -> None:
    verdict = read_back(before, now, amount)
    assert (verdict is ReadBack.EXECUTED) == (before - now == amount)
    assert (verdict is ReadBack.NOT_EXECUTED) == (before == now)
    assert verdict in ReadBack


@given(before=TIYN, amount=st.integers(1, MAX_TIYN), cashier=st.integers(1, MAX_TIYN))
def test_two_executions_or_a_cashiers_money_are_never_taken_for_one_refund(
    before: int, amount: int, cashier: int
) -> None:
    assert read_back(before, before - 2 * amount, amount) is ReadBack.SOMEBODY_ELSE
    assert read_back(before, before - amount - cashier, amount) is ReadBack.SOMEBODY_ELSE
    assert read_back(before, before + amount, amount) is ReadBack.SOMEBODY_ELSE
    # The known blind spot (fact sheet §5): a cashier's refund of exactly this amount.
    assert read_back(before, before - cashier, amount) is (
        ReadBack.EXECUTED if cashier == amount else ReadBack.SOMEBODY_ELSE
    )


FRESH = Refund(
    id="ref_1",
    merchant_id="mer_1",
    number=7,
    invoice_id="inv_1",
    position=2,
    is_sandbox=False,
    amount=500,
    state=RefundState.PENDING,
    created_at=NOW,
    updated_at=NOW,
    reason="Нет в наличии",
    connection_id="con_1",
    bank_payment_id=11,
)


@pytest.mark.parametrize("state", RefundState)
@pytest.mark.parametrize("attention", [None, *RefundAttention])
def test_the_answer_to_its_creation_is_the_same_whenever_it_is_asked_for(
    state: RefundState, attention: RefundAttention | None
) -> None:
    later = msgspec.structs.replace(
        FRESH,
        state=state,
        attention=attention,
        status_reason=RefundReason.READ_BACK,
        bank_return_id=99,
        bank_code=-1,
        updated_at=NOW + timedelta(hours=1),
        completed_at=NOW + timedelta(hours=1),
    )
    assert as_recorded(later) == FRESH
