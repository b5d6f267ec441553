"""Amounts: Double tenge on the bank's wire, integer tiyn (1 tenge = 100 tiyn) in the books. Never float."""

from decimal import Decimal, InvalidOperation

import msgspec

_SMALLEST, _LARGEST = Decimal("0.01"), Decimal(10**13)


def tiyn(value: object) -> int:
    """A JSON number or numeric text in tenge → tiyn.

    Raises TypeError or ValueError for what is no number, ArithmeticError for a number that is no amount
    (zero, negative, more than two decimals, above 10^13 tenge).
    """
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise TypeError("not a number")
    try:
        tenge = Decimal(value)
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not tenge.is_finite():
        raise ValueError("not a number")
    # The bounds come first: 1e999999999 must not become a number of a billion digits.
    if not _SMALLEST <= tenge <= _LARGEST or tenge * 100 != int(tenge * 100):
        raise ArithmeticError("not an amount")
    return int(tenge * 100)


def tenge(amount_tiyn: int) -> str:
    """Tiyn → tenge text with two decimals: 10050 → "100.50"."""
    return f"{amount_tiyn // 100}.{amount_tiyn % 100:02d}"


def wire(amount_tiyn: int) -> msgspec.Raw:
    """Tiyn → JSON number with two decimals, exact (a float could print 0.1 + 0.2)."""
    return msgspec.Raw(tenge(amount_tiyn).encode())
