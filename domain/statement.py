"""A bank statement as CSV: rows, or every wrong line with its reason. docs/reconciliation.md has the columns."""

import csv
import io
import re
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from domain.money import BadAmount, parse_amount

COLUMNS = ("date_time", "operation", "payment_id", "amount", "comment")
MOST_ROWS = 100_000
_LARGEST_ID = 2**63 - 1
_AMOUNT = re.compile(r"[0-9]{1,8}(?:[.,][0-9]{1,2})?")
_ID = re.compile(r"[0-9]{1,19}")
# domain.invoice.bank_reference: ten characters of base32.
_REFERENCE = re.compile(r"\bT-([a-z2-7]{10})\b")
_ALMATY = ZoneInfo("Asia/Almaty")


class Operation(StrEnum):
    """What moved."""

    PAYMENT = "payment"
    REFUND = "refund"


class StatementRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line. Amount in tiyn; of the comment only our reference (``T-…``) is kept."""

    number: int
    happened_at: datetime
    operation: Operation
    bank_payment_id: int
    amount: int
    reference: str | None = None


class WrongLine(msgspec.Struct, frozen=True):
    """A line and what is wrong in it, in a sentence without its content."""

    number: int
    reason: str


class BadStatement(ValueError):
    """Nothing of a statement with wrong lines is taken."""

    def __init__(self, wrong: list[WrongLine]) -> None:
        self.wrong = wrong
        super().__init__(f"{len(wrong)} wrong lines")


def read_statement(text: str) -> list[StatementRow]:
    """Every row; `BadStatement` names every wrong line. Comma or semicolon, as the header is written."""
    text = text.removeprefix("\ufeff")
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",", strict=True)
    rows: list[StatementRow] = []
    wrong: list[WrongLine] = []
    paid: dict[int, int] = {}
    header: list[str] | None = None
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if header is None:
                header = _header(fields)
                continue
            try:
                row = _row(reader.line_num, header, fields)
                _once(row, paid)
                rows.append(row)
            except ValueError as error:
                wrong.append(WrongLine(reader.line_num, str(error)))
            if len(rows) > MOST_ROWS:
                raise BadStatement([WrongLine(reader.line_num, f"More than {MOST_ROWS} rows; split the file.")])
    except csv.Error:
        wrong.append(WrongLine(reader.line_num, "Is not CSV: an unclosed quote or a stray character."))
    if not wrong and not rows:
        wrong.append(WrongLine(1, "There are no rows."))
    if wrong:
        raise BadStatement(wrong)
    return rows


def period_of(rows: list[StatementRow]) -> tuple[datetime, datetime]:
    """The first and the last moment of a statement."""
    moments = [row.happened_at for row in rows]
    return min(moments), max(moments)


def _header(fields: list[str]) -> list[str]:
    names = [field.strip().lower() for field in fields]
    if sorted(names) != sorted(COLUMNS):
        raise BadStatement([WrongLine(1, f"The header must be: {','.join(COLUMNS)}.")])
    return names


def _row(number: int, header: list[str], fields: list[str]) -> StatementRow:
    if len(fields) != len(header):
        raise ValueError(f"Has {len(fields)} fields, not {len(header)}.")
    value = dict(zip(header, (field.strip() for field in fields), strict=True))
    try:
        operation = Operation(value["operation"].lower())
    except ValueError:
        raise ValueError("operation must be payment or refund.") from None
    if not _ID.fullmatch(value["payment_id"]) or not 0 < int(value["payment_id"]) <= _LARGEST_ID:
        raise ValueError("payment_id must be a whole number.")
    found = _REFERENCE.search(value["comment"])
    return StatementRow(
        number=number,
        happened_at=_moment(value["date_time"]),
        operation=operation,
        bank_payment_id=int(value["payment_id"]),
        amount=_amount(value["amount"]),
        reference=f"T-{found[1]}" if found else None,
    )


def _once(row: StatementRow, paid: dict[int, int]) -> None:
    if row.operation is not Operation.PAYMENT:
        return
    first = paid.setdefault(row.bank_payment_id, row.number)
    if first != row.number:
        raise ValueError(f"Repeats the payment of line {first}.")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("date_time must be like 2026-11-22 14:05:00 or 2026-11-22T14:05:00+05:00.") from None
    if not 2000 <= moment.year <= 2200:
        raise ValueError("date_time is out of range.")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=_ALMATY)


def _amount(text: str) -> int:
    if not _AMOUNT.fullmatch(text):
        raise ValueError("amount must be tenge like 1500 or 1500.00 or 1500,00.")
    try:
        return parse_amount(Decimal(text.replace(",", ".")))
    except BadAmount as error:
        raise ValueError(f"amount {error}.") from None
