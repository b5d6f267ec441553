"""What fields of requests may hold, and the checks behind it."""

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from domain.errors import FieldError, invalid
from domain.money import parse_amount
from domain.phone import normalize_phone

AmountIn = Annotated[
    Decimal,
    Meta(
        description="Tenge, a JSON number with at most two decimals.",
        examples=[10000],
        extra_json_schema={"minimum": 0.01, "maximum": 99999999.99, "multipleOf": 0.01},
    ),
]
PhoneIn = Annotated[
    str,
    Meta(
        description="Mobile number of Kazakhstan: 77011234567, 87011234567, +77011234567 or 7011234567.",
        examples=["77011234567"],
        max_length=32,
    ),
]
DescriptionIn = Annotated[str, Meta(description="The payer sees it.", max_length=500, examples=["Заказ #1042"])]
OrderIdIn = Annotated[str, Meta(description="Your own number of the order.", max_length=255, examples=["order_1042"])]
SandboxIn = Annotated[
    bool,
    Meta(
        description="Sandbox object, moved by `simulate` or by a magic value (`GET /v1/sandbox/scenarios`); by default"
        " what the key's mode says."
    ),
]


def optional_text(text: str | None) -> str | None:
    """Blank means none."""
    return (text.strip() or None) if text is not None else None


def checked_amount(value: Decimal) -> int:
    """Tiyn; used as a rule, and once more for the value."""
    return parse_amount(value)


def checked_phone(value: str) -> str:
    """Normal form; used as a rule, and once more for the value."""
    return normalize_phone(value)


def wrong(field: str, message: str) -> Exception:
    """One wrong field found after decoding."""
    return invalid(FieldError(field, "invalid", message))
