"""What requests of the ApiPay contract may hold."""

import re
from decimal import Decimal
from typing import Annotated, ClassVar

from msgspec import Meta

from api.bodies import RequestBody, Rule
from domain.money import parse_amount
from domain.phone import normalize_phone

_PHONE = re.compile(r"8[0-9]{10}")
MAX_NUMBER = 2**63 - 1

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
        description="Mobile number of Kazakhstan, 8XXXXXXXXXX.",
        examples=["87001234567"],
        extra_json_schema={"pattern": _PHONE.pattern},
    ),
]
DescriptionIn = Annotated[str, Meta(description="The payer sees it.", max_length=500, examples=["Заказ #123"])]
OrderIdIn = Annotated[str, Meta(description="Your own number of the order.", max_length=255, examples=["order_123"])]
WebhookIn = Annotated[int, Meta(description="`number` of the one webhook endpoint that is told; without it all are.")]


def checked_phone(value: str) -> str:
    """``87011234567`` to ``77011234567``; used as a rule, and once more for the value."""
    if not _PHONE.fullmatch(value):
        raise ValueError("phone number must be in format 8XXXXXXXXXX")
    return normalize_phone(value)


class InvoiceRequest(RequestBody, kw_only=True):
    """A bill to a phone."""

    RULES: ClassVar[dict[str, Rule]] = {"amount": parse_amount, "phone_number": checked_phone}

    amount: AmountIn
    phone_number: PhoneIn
    description: DescriptionIn | None = None
    external_order_id: OrderIdIn | None = None
    webhook_id: WebhookIn | None = None


class RefundRequest(RequestBody):
    """A refund of an `amount`, or without it of all that is left."""

    RULES: ClassVar[dict[str, Rule]] = {"amount": parse_amount}

    amount: AmountIn | None = None
    reason: Annotated[str, Meta(description="For your own books.", max_length=500)] | None = None


def optional_text(text: str | None) -> str | None:
    """Blank means none."""
    return (text.strip() or None) if text is not None else None
