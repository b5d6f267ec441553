"""The list of magic values, and which bill means which of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.invoice import CLOSED_UNPAID, Kind, State
from domain.money import MAX_TIYN
from domain.phone import normalize_phone
from domain.scenario import Scenario
from domain.scenarios import MAGIC_VALUES, sandbox_payment_id, scenario_of

PHONES = st.from_regex(r"77[0-9]{9}", fullmatch=True)
ENDINGS = st.integers(0, 20).map(lambda number: f"7701234{number:04d}")
AMOUNTS = (
    st.integers(1, MAX_TIYN)
    | st.integers(99_000_000, 99_002_000)
    | st.integers(0, 20).map(lambda number: (990_000 + number) * 100)
)
MEANT = {value.digits: value.scenario for value in MAGIC_VALUES}
AMOUNTS_MEANT = {value.amount: value.scenario for value in MAGIC_VALUES}


@given(kind=st.sampled_from(Kind), phone=st.none() | PHONES | ENDINGS, amount=AMOUNTS)
def test_a_live_bill_never_means_one(kind: Kind, phone: str | None, amount: int) -> None:
    assert scenario_of(is_sandbox=False, kind=kind, phone=phone, amount=amount) is None


@given(phone=PHONES | ENDINGS, amount=AMOUNTS)
def test_a_phone_bill_means_what_its_last_four_digits_say(phone: str, amount: int) -> None:
    found = scenario_of(is_sandbox=True, kind=Kind.PHONE, phone=phone, amount=amount)
    assert found is MEANT.get(phone[7:])


@given(kind=st.sampled_from([Kind.QR, Kind.LINK]), amount=AMOUNTS)
def test_a_code_means_what_its_exact_amount_says(kind: Kind, amount: int) -> None:
    found = scenario_of(is_sandbox=True, kind=kind, phone=None, amount=amount)
    assert found is AMOUNTS_MEANT.get(amount)


def test_a_bill_of_a_subscription_never_means_one() -> None:
    for value in MAGIC_VALUES:
        phone = normalize_phone(value.phone_example)
        assert scenario_of(is_sandbox=True, kind=Kind.PHONE, phone=phone, amount=100) is not None
        assert scenario_of(is_sandbox=True, kind=Kind.PHONE, phone=phone, amount=100, subscribed=True) is None


def test_the_list_has_the_thirteen_of_the_contract_in_order() -> None:
    assert [value.digits for value in MAGIC_VALUES] == [f"{number:04d}" for number in range(1, 14)]
    assert [value.scenario for value in MAGIC_VALUES] == list(Scenario)
    assert [value.amount for value in MAGIC_VALUES] == [(990_000 + number) * 100 for number in range(1, 14)]


@pytest.mark.parametrize("value", MAGIC_VALUES, ids=lambda value: value.digits)
def test_the_examples_of_a_line_mean_it(value: Any) -> None:
    phone = normalize_phone(value.phone_example)
    assert scenario_of(is_sandbox=True, kind=Kind.PHONE, phone=phone, amount=1) is value.scenario
    for kind in (Kind.QR, Kind.LINK):
        assert scenario_of(is_sandbox=True, kind=kind, phone=None, amount=value.amount) is value.scenario


@pytest.mark.parametrize("value", MAGIC_VALUES, ids=lambda value: value.digits)
def test_a_script_looks_for_as_long_as_its_bill_is_open(value: Any) -> None:
    for course in (value.phone, value.code):
        assert list(course.looks) == sorted(set(course.looks))
        assert [told.after for told in course.events] == sorted(told.after for told in course.events)
        if course.looks:  # a script that looks goes on until the bill is settled
            assert course.events[-1].state in {State.PAID, *CLOSED_UNPAID}
        if course.error is not None:
            assert (course.state, course.events, course.looks) == (State.FAILED, (), ())


def test_the_simulated_bank_gives_the_same_bill_the_same_number() -> None:
    assert sandbox_payment_id("inv_a") == sandbox_payment_id("inv_a") != sandbox_payment_id("inv_b")
