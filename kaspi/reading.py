"""From the bank's answers to our results. Raises `Unreadable`; what that means for the call, the caller knows."""

from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from kaspi import wire
from kaspi.amounts import BadBankAmount, amount_from_wire
from kaspi.dates import BadDate, parse_date
from kaspi.results import LinkCreated, PaymentDetails, PaymentStatus, QrCreated, TradePoint

# §3.1; used only where an answer leaves them out.
_POLL_INTERVAL, _SCAN_TIMEOUT, _CONFIRM_TIMEOUT = 5, 180, 65
Options = TypeVar("Options", bound=msgspec.Struct)


def trade_points(data: msgspec.Raw) -> list[TradePoint]:
    """partner/tradepoints."""
    rows = wire.decode(data, list[wire.TradePointAnswer])
    return [TradePoint(row.trade_point_id, row.trade_point_name or "") for row in rows]


def qr_created(data: msgspec.Raw) -> QrCreated:
    """qr/create."""
    answer = wire.decode(data, wire.QrAnswer)
    options = _options(answer.qr_payment_behavior_options, wire.QrOptions)
    return QrCreated(
        token=answer.qr_token,
        payment_id=answer.qr_payment_id,
        expires_at=_date(answer.expire_date),
        poll_interval=_seconds(options.status_polling_interval, _POLL_INTERVAL),
        scan_timeout=_seconds(options.qr_code_scan_wait_timeout, _SCAN_TIMEOUT),
        confirm_timeout=_seconds(options.payment_confirmation_timeout, _CONFIRM_TIMEOUT),
        methods=_methods(answer.payment_methods),
    )


def link_created(data: msgspec.Raw) -> LinkCreated:
    """qr/create-link."""
    answer = wire.decode(data, wire.LinkAnswer)
    options = _options(answer.payment_behavior_options, wire.LinkOptions)
    return LinkCreated(
        link=answer.payment_link,
        payment_id=answer.payment_id,
        expires_at=_date(answer.expire_date),
        poll_interval=_seconds(options.status_polling_interval, _POLL_INTERVAL),
        scan_timeout=_seconds(options.link_activation_wait_timeout, _SCAN_TIMEOUT),
        confirm_timeout=_seconds(options.payment_confirmation_timeout, _CONFIRM_TIMEOUT),
        methods=_methods(answer.payment_methods),
    )


def payment_status(data: msgspec.Raw) -> PaymentStatus:
    """payment/status. A strange Amount must not hide the word: a payment we can't see is a lost one."""
    answer = wire.decode(data, wire.StatusAnswer)
    amount: int | None
    try:
        amount = _amount(wire.decode(answer.amount, Decimal))
    except wire.Unreadable:  # absent, null or odd
        amount = None
    return PaymentStatus(
        word=answer.status,
        amount=amount,
        transaction_id=_text(answer.transaction_id),
        product_type=_text(answer.product_type),
    )


def payment_details(data: msgspec.Raw) -> PaymentDetails:
    """payment/details. Refunds are judged by these two sums, so here an inexact one is no answer at all."""
    answer = wire.decode(data, wire.DetailsAnswer)
    return PaymentDetails(
        total=_amount(answer.total_amount),
        available=_amount(answer.available_return_amount),
        at=_date(answer.transaction_date),
    )


def nothing(_data: msgspec.Raw) -> None:
    """Calls whose success is all there is to know."""


def device_token(data: msgspec.Raw) -> str:
    """device/register."""
    return wire.decode(data, wire.DeviceAnswer).device_token


def client_name(data: msgspec.Raw) -> str:
    """remote/client-info."""
    return wire.decode(data, wire.ClientInfoAnswer).client_name


def remote_payment_id(data: msgspec.Raw) -> int:
    """remote/create."""
    return wire.decode(data, wire.RemoteAnswer).qr_payment_id


def cancel_word(data: msgspec.Raw) -> str:
    """remote/cancel."""
    return wire.decode(data, wire.CancelAnswer).status


def return_operation_id(data: msgspec.Raw) -> int:
    """payment/return."""
    return wire.decode(data, wire.ReturnAnswer).return_operation_id


def _amount(value: Decimal) -> int:
    try:
        return amount_from_wire(value)
    except BadBankAmount:
        raise wire.Unreadable("no exact amount") from None


def _date(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_date(value)
    except BadDate:
        return None


def _options(data: msgspec.Raw, shape: type[Options]) -> Options:
    try:
        return wire.decode(data, shape)
    except wire.Unreadable:  # null or odd: the guide's own numbers apply
        return shape()


def _seconds(value: int | None, otherwise: int) -> int:
    return value if value is not None and value > 0 else otherwise


def _methods(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None
