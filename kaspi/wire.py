"""The bank's JSON, field by field (fact sheet §1, §2): exact PascalCase out, lenient reading in."""

from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec

Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
T = TypeVar("T")

_BOM = b"\xef\xbb\xbf"


class Unreadable(ValueError):
    """The bytes are not what the guide promises; says nothing about what the bank did."""


class Out(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Requests: a field left at None is not sent."""


class In(msgspec.Struct, rename="pascal"):
    """Answers: unknown fields are ignored; a required field of ours missing makes the answer unreadable."""


class Envelope(In):
    """§1: success only where StatusCode is there and 0. Message may be absent or no text at all."""

    status_code: int
    message: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class RegisterDevice(Out):
    """POST device/register (§2.1)."""

    device_id: str
    trade_point_id: int
    organization_bin: str | None = None


class DeleteDevice(Out):
    """POST device/delete (§2.1)."""

    device_token: str
    organization_bin: str | None = None


class CreatePurchase(Out):
    """POST qr/create and qr/create-link (§2.2)."""

    device_token: str
    amount: msgspec.Raw
    external_id: str | None = None
    organization_bin: str | None = None


class CreateRemote(Out):
    """POST remote/create (§2.4)."""

    amount: msgspec.Raw
    phone_number: str
    device_token: str
    comment: str | None = None
    organization_bin: str | None = None

    def __repr__(self) -> str:
        # A phone and free text: neither may reach a log through a repr.
        return "CreateRemote(…)"


class CancelRemote(Out):
    """POST remote/cancel (§2.4)."""

    qr_payment_id: int
    device_token: str
    organization_bin: str | None = None


class ReturnPayment(Out):
    """POST payment/return as r3 wants it (§2.4)."""

    device_token: str
    qr_payment_id: int
    amount: msgspec.Raw
    organization_bin: str | None = None


class TradePointAnswer(In):
    """One element of partner/tradepoints."""

    trade_point_id: Id
    trade_point_name: str | None = None


class DeviceAnswer(In):
    """device/register."""

    device_token: Text


class QrOptions(In):
    """Seconds (§2.2)."""

    status_polling_interval: int | None = None
    qr_code_scan_wait_timeout: int | None = None
    payment_confirmation_timeout: int | None = None


class LinkOptions(In):
    """Seconds (§2.2); the wait has another name than in qr/create."""

    status_polling_interval: int | None = None
    link_activation_wait_timeout: int | None = None
    payment_confirmation_timeout: int | None = None


class QrAnswer(In):
    """qr/create."""

    qr_token: Text
    qr_payment_id: Id
    expire_date: Any = None
    payment_methods: Any = None
    qr_payment_behavior_options: msgspec.Raw = msgspec.Raw(b"null")


class LinkAnswer(In):
    """qr/create-link: PaymentId here is the QrPaymentId of every later call."""

    payment_link: Text
    payment_id: Id
    expire_date: Any = None
    payment_methods: Any = None
    payment_behavior_options: msgspec.Raw = msgspec.Raw(b"null")


class StatusAnswer(In):
    """payment/status, v01 and v02: everything but Status may be missing or oddly typed."""

    status: Word
    amount: msgspec.Raw = msgspec.Raw(b"null")
    transaction_id: Any = None
    product_type: Any = None


class DetailsAnswer(In):
    """payment/details."""

    total_amount: Decimal
    available_return_amount: Decimal
    transaction_date: Any = None


class ClientInfoAnswer(In):
    """remote/client-info: the payer's full name."""

    client_name: Text

    def __repr__(self) -> str:
        return "ClientInfoAnswer(…)"


class RemoteAnswer(In):
    """remote/create."""

    qr_payment_id: Id


class CancelAnswer(In):
    """remote/cancel."""

    status: Word


class ReturnAnswer(In):
    """payment/return."""

    return_operation_id: Id


def encode(body: Out) -> bytes:
    """The request's JSON."""
    return msgspec.json.encode(body)


def decode(data: bytes | msgspec.Raw, shape: type[T]) -> T:
    """The bytes in that shape, numbers sent as strings included; `Unreadable` (which quotes nothing) if not."""
    try:
        return msgspec.json.decode(data, type=shape, strict=False)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        # RecursionError: deeply nested rubbish. The original error could quote the bank's text.
        raise Unreadable("not the promised JSON") from None


def read_envelope(body: bytes) -> Envelope | None:
    """The envelope, or None where the bytes are none."""
    try:
        return decode(body.removeprefix(_BOM), Envelope)
    except Unreadable:
        return None
