"""Dates and sums of the wire, status words."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.bank import Verdict
from domain.invoice import Kind
from kaspi.amounts import BadBankAmount, amount_from_wire, amount_to_wire
from kaspi.dates import BadDate, parse_date
from kaspi.status import KNOWN_WORDS, meaning


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-01-16T10:30:00+06", datetime(2020, 1, 16, 4, 30, tzinfo=UTC)),
        ("2025-10-22T17:10:50.717+05:00", datetime(2025, 10, 22, 12, 10, 50, 717000, tzinfo=UTC)),
        ("2021-12-08T11:35:48.1566667", datetime(2021, 12, 8, 5, 35, 48, 156666, tzinfo=UTC)),
        ("2021-11-3T11:55:14.166+06:00", datetime(2021, 11, 3, 5, 55, 14, 166000, tzinfo=UTC)),
        ("2025-10-22T17:10:50", datetime(2025, 10, 22, 12, 10, 50, tzinfo=UTC)),
        ("2025-10-22T12:10:50Z", datetime(2025, 10, 22, 12, 10, 50, tzinfo=UTC)),
        ("2025-10-22T12:10:50+0530", datetime(2025, 10, 22, 6, 40, 50, tzinfo=UTC)),
        ("2025-10-22T12:10:50-03", datetime(2025, 10, 22, 15, 10, 50, tzinfo=UTC)),
    ],
)
def test_every_spelling_of_a_date(text: str, expected: datetime) -> None:
    parsed = parse_date(text)
    assert parsed == expected
    assert parsed.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "2025-13-01T00:00:00",
        "2025-02-30T00:00:00Z",
        "0001-01-01T00:00:00",
        "2025-10-22",
        "٢٠٢٥-10-22T00:00:00",
    ],
)
def test_no_date(text: str) -> None:
    with pytest.raises(BadDate):
        parse_date(text)


@given(st.text(alphabet="0123456789-T:.+Z ", max_size=35))
def test_any_text_is_a_date_in_utc_or_none(text: str) -> None:
    with suppress(BadDate):
        assert parse_date(text).tzinfo is UTC


@given(st.integers(0, 4_000_000_000), st.integers(-12, 14))
def test_offsets_are_honoured(seconds: int, hours: int) -> None:
    utc = datetime.fromtimestamp(seconds, UTC)
    local = (utc + timedelta(hours=hours)).replace(tzinfo=None)
    sign = "-" if hours < 0 else "+"
    assert parse_date(f"{local.isoformat()}{sign}{abs(hours):02d}") == utc


@given(st.integers(1, 9_999_999_999))
def test_money_survives_the_wire_exactly(tiyn: int) -> None:
    sent = bytes(amount_to_wire(tiyn))
    whole, cents = sent.split(b".")
    assert len(cents) == 2
    assert int(whole) * 100 + int(cents) == tiyn
    assert amount_from_wire(msgspec.json.decode(sent, type=Decimal)) == tiyn


@pytest.mark.parametrize("tiyn", [0, -1, 10_000_000_000])
def test_sums_the_bank_would_refuse_are_not_sent(tiyn: int) -> None:
    with pytest.raises(ValueError, match="range"):
        amount_to_wire(tiyn)


@pytest.mark.parametrize(
    ("text", "tiyn"), [("0", 0), ("0.00", 0), ("100", 10000), ("1e2", 10000), ("99.9", 9990), ("5.120", 512)]
)
def test_sums_that_are_exact(text: str, tiyn: int) -> None:
    assert amount_from_wire(Decimal(text)) == tiyn


@pytest.mark.parametrize(
    "text",
    [
        "0.001",
        "-0.01",
        "NaN",
        "sNaN",
        "Infinity",
        "1e999999",
        "1e-999999",
        "99.99999999999999",
        "0." + "0" * 40 + "1",
        "5." + "0" * 30 + "1",
    ],
)
def test_sums_that_are_not(text: str) -> None:
    with pytest.raises(BadBankAmount):
        amount_from_wire(Decimal(text))


@pytest.mark.parametrize(
    ("word", "kind", "asked", "verdict"),
    [
        ("QrTokenCreated", Kind.QR, False, Verdict.WAITING),
        ("RemotePaymentCreated", Kind.PHONE, False, Verdict.WAITING),
        ("RemotePaymentCreated", Kind.LINK, False, Verdict.WAITING),
        ("Wait", Kind.QR, False, Verdict.SCANNED),
        ("Processed", Kind.PHONE, True, Verdict.PAID),
        ("Error", Kind.QR, False, Verdict.FAILED),
        ("Error", Kind.LINK, True, Verdict.FAILED),
        ("Error", Kind.PHONE, False, Verdict.FAILED),
        ("Error", Kind.PHONE, True, Verdict.CANCELED),
        ("RemotePaymentCanceled", Kind.PHONE, True, Verdict.CANCELED),
        ("RemotePaymentRejected", Kind.PHONE, False, Verdict.REJECTED),
        ("RemotePaymentRejected", Kind.QR, False, Verdict.UNKNOWN),
        ("Expired", Kind.QR, False, Verdict.EXPIRED),
        ("RemotePaymentExpired", Kind.PHONE, False, Verdict.EXPIRED),
        ("QrTokenDiscarded", Kind.LINK, False, Verdict.EXPIRED),
        ("processed", Kind.QR, False, Verdict.UNKNOWN),
        ("Iris1BlockCode2", Kind.QR, False, Verdict.UNKNOWN),
    ],
)
def test_the_table_of_words(word: str, kind: Kind, asked: bool, verdict: Verdict) -> None:
    assert meaning(word, kind, cancel_requested=asked) is verdict


@given(st.text(), st.sampled_from(Kind), st.booleans())
def test_an_unknown_word_changes_nothing(word: str, kind: Kind, asked: bool) -> None:
    if word not in KNOWN_WORDS:
        assert meaning(word, kind, cancel_requested=asked) is Verdict.UNKNOWN


@given(st.sampled_from(sorted(KNOWN_WORDS)), st.sampled_from(Kind), st.booleans())
def test_paid_means_processed_and_nothing_else(word: str, kind: Kind, asked: bool) -> None:
    assert (meaning(word, kind, cancel_requested=asked) is Verdict.PAID) == (word == "Processed")
