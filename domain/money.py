"""Money: integer tiyn inside, ``"10000.00"`` outside, never a float. 1 tenge = 100 tiyn."""

from decimal import Decimal

CURRENCY = "KZT"
MIN_TIYN = 1
MAX_TIYN = 9_999_999_999  # 99 999 999.99 tenge


class BadAmount(ValueError):
    """The text of the exception is fit to show to a merchant."""


def parse_amount(value: Decimal) -> int:
    """Exact tenge to tiyn; `BadAmount` for more than two decimals or outside 0.01 .. 99 999 999.99."""
    if not value.is_finite():
        raise BadAmount("must be a number")
    # Bounds come first: scaling an exponent like 1e999999 would build a huge integer.
    if not Decimal("0.01") <= value <= Decimal("99999999.99"):
        raise BadAmount("must be between 0.01 and 99999999.99 tenge")
    # Comparing is exact at any length; multiplying would round to the context's 28 digits first.
    cents = value.quantize(Decimal("0.01"))
    if cents != value:
        raise BadAmount("must have at most two decimals")
    return int(cents.scaleb(2))


def format_amount(tiyn: int) -> str:
    """``1000000`` tiyn to ``"10000.00"``."""
    sign = "-" if tiyn < 0 else ""
    whole, rest = divmod(abs(tiyn), 100)
    return f"{sign}{whole}.{rest:02d}"


def tiyn_to_decimal(tiyn: int) -> Decimal:
    """Exact tenge with two decimals."""
    return Decimal(tiyn).scaleb(-2).quantize(Decimal("0.01"))
