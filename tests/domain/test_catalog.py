from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalog import MAX_COUNT_MILLI, UNITS, BadCount, Unit, check_count, format_count, parse_count

MILLI = st.integers(1, MAX_COUNT_MILLI)


def test_every_unit_has_its_names() -> None:
    assert set(UNITS) == set(Unit)
    for info in UNITS.values():
        assert info.decimals in {0, 3}
        assert all(name == name.strip() != "" for name in (info.ru, info.kk, info.en, info.short_ru, info.short_kk))


@given(MILLI)
def test_what_is_shown_is_read_back_as_the_same_count(milli: int) -> None:
    assert parse_count(Decimal(format_count(milli))) == milli
    assert Decimal(format_count(milli)) * 1000 == milli


@pytest.mark.parametrize(
    ("text", "milli"),
    [("1", 1000), ("1.0000", 1000), ("0.001", 1), ("1e3", 1_000_000), ("1000000", 10**9), ("2.5", 2500)],
)
def test_counts_are_exact(text: str, milli: int) -> None:
    assert parse_count(Decimal(text)) == milli


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "0.0009", "0.0001", "1.0001", "1000000.001", "1e999999", "1e-999999", "NaN", "Infinity", "-Infinity"],
)
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(BadCount):
        parse_count(Decimal(text))


@given(MILLI)
def test_there_is_no_half_of_a_piece(milli: int) -> None:
    check_count(milli, Unit.KILOGRAM)
    if milli % 1000:
        with pytest.raises(BadCount):
            check_count(milli, Unit.PIECE)
    else:
        check_count(milli, Unit.PIECE)
