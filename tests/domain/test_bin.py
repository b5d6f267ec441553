import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.bin import valid_bin

COMPANIES = ["971240001315", "940140000385", "941240000193"]  # public numbers of Kazakh companies
SECOND_ROW = ["377835337400", "625851781286", "757710465632"]  # the first row of weights gives 10


@pytest.mark.parametrize("number", COMPANIES + SECOND_ROW)
def test_a_right_check_digit_is_taken_and_every_other_one_is_not(number: str) -> None:
    taken = [digit for digit in "0123456789" if valid_bin(number[:11] + digit)]
    assert taken == [number[11]]


def test_some_numbers_have_no_check_digit_at_all() -> None:
    assert not any(valid_bin(f"06870986119{digit}") for digit in range(10))


@given(st.text("0123456789", min_size=11, max_size=11))
def test_no_number_has_two_check_digits(start: str) -> None:
    assert sum(valid_bin(f"{start}{digit}") for digit in range(10)) <= 1


@given(st.sampled_from(COMPANIES), st.integers(0, 9), st.integers(1, 9))
def test_one_mistyped_digit_is_noticed(number: str, place: int, shift: int) -> None:
    # The eleventh digit's first weight is 11, that is 0: the rule itself cannot see a mistake there.
    wrong = f"{number[:place]}{(int(number[place]) + shift) % 10}{number[place + 1 :]}"
    first_row = sum(weight * int(digit) for weight, digit in zip(range(1, 12), wrong[:11], strict=True)) % 11
    if first_row != 10:
        assert not valid_bin(wrong)


@pytest.mark.parametrize(
    "text", ["", "97124000131", "9712400013155", "97124000131a", "９７１２４０００１３１５", "97124000131 "]
)
def test_what_is_not_twelve_ascii_digits_is_refused(text: str) -> None:
    assert not valid_bin(text)
