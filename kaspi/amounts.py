"""Tenge on the wire, tiyn inside; no float on the way."""

from decimal import Decimal

import msgspec

from domain.money import MAX_TIYN, MIN_TIYN, format_amount

_CEILING = Decimal(10) ** 13


class BadBankAmount(ValueError):
    """The bank's number is no exact amount of tiyn."""


def amount_to_wire(tiyn: int) -> msgspec.Raw:
    """A JSON number with two decimals, ``10050`` to ``100.50``; ValueError outside 0.01 .. 99 999 999.99.

    Raw, because msgspec writes a Decimal as a JSON string and a float is not exact.
    """
    if not MIN_TIYN <= tiyn <= MAX_TIYN:
        raise ValueError("amount out of range")
    return msgspec.Raw(format_amount(tiyn).encode())


def amount_from_wire(value: Decimal) -> int:
    """Exact tiyn, zero allowed (a fully refunded rest); `BadBankAmount` for fractions of a tiyn, a negative
    or an absurd number.
    """
    # The bounds come first: scaling 1e999999 would build a huge integer.
    if not value.is_finite() or not 0 <= value < _CEILING:
        raise BadBankAmount("not an amount")
    # Scaling rounds to the context's 28 digits, so a long fraction could become exact by rounding.
    exponent = value.normalize().as_tuple().exponent
    if len(value.as_tuple().digits) > 28 or not isinstance(exponent, int) or exponent < -2:
        raise BadBankAmount("more than two decimals")
    return int(value * 100)
