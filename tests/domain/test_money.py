from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import MAX_TIYN, MIN_TIYN, BadAmount, format_amount, parse_amount, tiyn_to_decimal

TIYN = st.integers(MIN_TIYN, MAX_TIYN)


@given(TIYN)
def test_what_is_shown_is_read_back_as_the_same_money(tiyn: int) -> None:
    assert parse_amount(Decimal(format_amount(tiyn))) == tiyn
    assert parse_amount(tiyn_to_decimal(tiyn)) == tiyn


@given(TIYN, st.integers(0, 6))
def test_the_spelling_of_a_number_does_not_matter(tiyn: int, zeros: int) -> None:
    spelled = format_amount(tiyn) + "0" * zeros
    assert parse_amount(Decimal(spelled)) == tiyn
    assert parse_amount(Decimal(tiyn).scaleb(-2).normalize()) == tiyn


@given(st.integers(-(10**15), 10**15))
def test_shown_money_always_has_two_decimals(tiyn: int) -> None:
    shown = format_amount(tiyn)
    assert Decimal(shown) * 100 == tiyn
    assert len(shown.partition(".")[2]) == 2


@pytest.mark.parametrize(
    ("text", "tiyn"),
    [
        ("0.01", 1),
        ("10000", 1_000_000),
        ("1e4", 1_000_000),
        ("99999999.99", 9_999_999_999),
        ("0.10", 10),
        ("19.99", 1999),
    ],
)
def test_known_amounts(text: str, tiyn: int) -> None:
    assert parse_amount(Decimal(text)) == tiyn


@pytest.mark.parametrize(
    "text",
    ["0", "-0.01", "0.001", "0.009", "100000000", "99999999.999", "-1", "1e999999", "-1e999999", "1e-999999"],
)
def test_money_outside_the_bounds_is_refused_without_building_a_huge_number(text: str) -> None:
    with pytest.raises(BadAmount, match="between"):
        parse_amount(Decimal(text))


@pytest.mark.parametrize("text", ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadAmount, match="number"):
        parse_amount(Decimal(text))


@given(st.integers(MIN_TIYN, MAX_TIYN - 1), st.integers(1, 999))
def test_a_third_decimal_is_refused_never_rounded(tiyn: int, thousandths: int) -> None:
    value = Decimal(tiyn * 1000 + thousandths).scaleb(-5)
    with pytest.raises(BadAmount, match="two decimals"):
        parse_amount(value)


@given(st.integers(MIN_TIYN, MAX_TIYN - 1), st.integers(20, 60))
def test_a_decimal_beyond_the_context_precision_is_not_rounded_away(tiyn: int, places: int) -> None:
    # Decimal arithmetic rounds to 28 digits: the check must not lose a digit that stands behind them.
    value = Decimal(f"{format_amount(tiyn)}{'0' * places}1")
    with pytest.raises(BadAmount):
        parse_amount(value)
