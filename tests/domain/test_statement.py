from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import statement
from domain.ids import INVOICE, new_id
from domain.invoice import bank_reference
from domain.money import MAX_TIYN, format_amount
from domain.statement import BadStatement, Operation, StatementRow, period_of, read_statement

HEADER = "date_time,operation,payment_id,amount,comment"


def one(line: str, header: str = HEADER) -> StatementRow:
    (row,) = read_statement(f"{header}\n{line}\n")
    return row


def wrong(*lines: str, header: str = HEADER) -> dict[int, str]:
    with pytest.raises(BadStatement) as caught:
        read_statement("\n".join([header, *lines]))
    return {line.number: line.reason for line in caught.value.wrong}


def test_a_row() -> None:
    row = one("2026-11-22T14:05:11+05:00,payment,12800012345,1500.5,Торт")
    assert row == StatementRow(
        number=2,
        happened_at=datetime(2026, 11, 22, 9, 5, 11, tzinfo=UTC),
        operation=Operation.PAYMENT,
        bank_payment_id=12_800_012_345,
        amount=150_050,
    )


@pytest.mark.parametrize(
    "text", ["2026-11-22 14:05", "2026-11-22 14:05:00", "2026-11-22T14:05:00", "2026-11-22T09:05Z"]
)
def test_a_moment_without_a_zone_is_almaty_s(text: str) -> None:
    assert one(f"{text},refund,1,1,").happened_at == datetime(2026, 11, 22, 9, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "tiyn"), [("1500", 150_000), ("1500.00", 150_000), ("0.01", 1), ("99999999.99", MAX_TIYN)]
)
def test_amounts(text: str, tiyn: int) -> None:
    assert one(f"2026-11-22 14:05,payment,1,{text},").amount == tiyn
    semicolons = one(f"2026-11-22 14:05;payment;1;{text.replace('.', ',')};", HEADER.replace(",", ";"))
    assert semicolons.amount == tiyn
    quoted = text.replace(".", ",")
    assert one(f'2026-11-22 14:05,payment,1,"{quoted}",').amount == tiyn


def test_a_spreadsheet_s_spelling() -> None:
    header = "\ufeffComment;Amount;Payment_Id;Operation;Date_Time\r\n"
    text = f'{header}"Торт; ""большой""\r\nв двух строках";10,00;5;PAYMENT;2026-11-22 10:00\r\n\r\n'
    (row,) = read_statement(text)
    assert (row.bank_payment_id, row.amount, row.operation) == (5, 1_000, Operation.PAYMENT)


@given(st.text(max_size=40), st.text(max_size=40))
def test_only_our_reference_is_kept_of_a_comment(before: str, after: str) -> None:
    reference = bank_reference(new_id(INVOICE))
    comment = f"{before} {reference} {after}".replace('"', "")
    row = one(f'2026-11-22 10:00,payment,1,1,"{comment}"')
    assert row.reference == reference or comment.count("T-") > 1
    assert one("2026-11-22 10:00,payment,1,1,Айгүл +7 701 123 45 67").reference is None


def test_every_wrong_line_is_named() -> None:
    found = wrong(
        "2026-11-22 10:00,payment,1,10.00,",
        "22.11.2026,payment,2,10.00,",
        "2026-11-22 10:00,bonus,3,10.00,",
        "2026-11-22 10:00,payment,12x,10.00,",
        "2026-11-22 10:00,payment,4,10.001,",
        "2026-11-22 10:00,payment,5,0.00,",
        "2026-11-22 10:00,payment,6,1e3,",
        "2026-11-22 10:00,payment,7",
        "2026-11-22 10:00,payment,1,10.00,",
        "1999-11-22 10:00,payment,8,10.00,",
        "2026-11-22 10:00,payment,99999999999999999999,10.00,",
    )
    assert list(found) == list(range(3, 13))
    assert "line 2" in found[10]
    assert not any("12x" in reason or "22.11" in reason for reason in found.values()), "no content in reasons"


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", HEADER, "date,amount\n1,2", "x" * 200_000, HEADER + '\n2026-11-22 10:00,payment,1,1,"open', "\x00"],
)
def test_what_is_no_statement(text: str) -> None:
    with pytest.raises(BadStatement):
        read_statement(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for given_text in (text, f"{HEADER}\n{text}", f"{HEADER.replace(',', ';')}\n{text}"):
        try:
            found = len(read_statement(given_text))
        except BadStatement as bad:
            found = len(bad.wrong)
        assert found


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "MOST_ROWS", 2)
    assert wrong(*(f"2026-11-22 10:00,payment,{number},1," for number in range(1, 5)))


@given(
    st.lists(
        st.tuples(st.integers(1, 2**63 - 1), st.integers(1, MAX_TIYN), st.integers(0, 10**8)),
        min_size=1,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_written_is_read(rows: list[tuple[int, int, int]]) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [begin + timedelta(seconds=second) for _, _, second in rows]
    lines = [
        f"{moment.isoformat()},payment,{payment},{format_amount(amount)},"
        for (payment, amount, _), moment in zip(rows, moments, strict=True)
    ]
    read = read_statement("\n".join([HEADER, *lines]))
    assert [(row.bank_payment_id, row.amount, row.happened_at) for row in read] == [
        (payment, amount, moment) for (payment, amount, _), moment in zip(rows, moments, strict=True)
    ]
    assert period_of(read) == (min(moments), max(moments))
