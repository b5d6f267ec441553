"""Every StatusCode of the guide's appendix 3 (fact sheet §4), and what it means for the caller."""

from enum import StrEnum

import msgspec

from kaspi.errors import (
    KaspiError,
    KaspiMisconfigured,
    KaspiNotFound,
    KaspiOutcomeUnknown,
    KaspiRefused,
    KaspiThrottled,
    KaspiUnavailable,
)


class Call(StrEnum):
    """The bank's calls by their paths without ids, as logs and errors name them."""

    PING = "health/ping"
    TRADEPOINTS = "partner/tradepoints"
    DEVICE_REGISTER = "device/register"
    DEVICE_DELETE = "device/delete"
    QR_CREATE = "qr/create"
    LINK_CREATE = "qr/create-link"
    STATUS = "payment/status"
    DETAILS = "payment/details"
    RETURN = "payment/return"
    CLIENT_INFO = "remote/client-info"
    REMOTE_CREATE = "remote/create"
    REMOTE_CANCEL = "remote/cancel"


MONEY_CALLS: frozenset[str] = frozenset({Call.REMOTE_CREATE, Call.REMOTE_CANCEL, Call.RETURN})
"""Calls whose second execution could hurt: a lost answer is "unknown", never "try again" (§5)."""

_RATE_GUARDED: frozenset[str] = frozenset({Call.STATUS, Call.CLIENT_INFO})
_TAKES_PURCHASE: frozenset[str] = frozenset(
    {
        Call.STATUS,
        Call.DETAILS,
        Call.RETURN,
        Call.REMOTE_CANCEL,
    }
)
_REMOTE: frozenset[str] = frozenset({Call.CLIENT_INFO, Call.REMOTE_CREATE, Call.REMOTE_CANCEL})


class Meaning(msgspec.Struct, frozen=True):
    """One row: our word, the guide's sense, the error it becomes, the calls it makes sense for (None: all)."""

    reason: str
    sense: str
    error: type[KaspiError]
    calls: frozenset[str] | None = None


_REFUND = frozenset[str]({Call.RETURN})

# A code with a documented sense means the same wherever it appears if it speaks of the caller's set-up; codes
# about a purchase, and codes the guide prints without a sense, count only for the calls they can belong to.
# Anywhere else they are unknown codes, because a guess about money is worse than a question to a human.
CODES: dict[int, Meaning] = {
    -10000: Meaning("certificate_missing", "client certificate missing", KaspiMisconfigured),
    -1501: Meaning("device_not_found", "device id not found", KaspiMisconfigured),
    -1502: Meaning("device_inactive", "device disabled or deleted", KaspiMisconfigured),
    -1503: Meaning(
        "device_elsewhere",
        "device already added to another trade point",
        KaspiMisconfigured,
        frozenset({Call.DEVICE_REGISTER}),
    ),
    -1601: Meaning("purchase_not_found", "purchase not found", KaspiNotFound, _TAKES_PURCHASE),
    -14000002: Meaning(
        "no_trade_points",
        "no trade points; create one in the Kaspi Pay app",
        KaspiMisconfigured,
        frozenset({Call.TRADEPOINTS}),
    ),
    -99000001: Meaning("purchase_not_found", "purchase with this id not found", KaspiNotFound, _TAKES_PURCHASE),
    -99000002: Meaning("trade_point_not_found", "trade point not found", KaspiMisconfigured),
    -99000003: Meaning("trade_point_differs", "purchase made at another trade point", KaspiMisconfigured, _REFUND),
    -99000005: Meaning("refund_above_payment", "refund above the purchase amount", KaspiRefused, _REFUND),
    -99000006: Meaning("refund_error", "refund error, outcome not stated", KaspiOutcomeUnknown, _REFUND),
    -99000011: Meaning("not_refundable", "cannot refund in this purchase status", KaspiRefused, _REFUND),
    -99000020: Meaning("partial_refund_impossible", "only a full refund is possible", KaspiRefused, _REFUND),
    990000018: Meaning("trade_point_disabled", "trade point disabled", KaspiMisconfigured),
    990000026: Meaning("no_qr_payments", "trade point takes no QR payments", KaspiMisconfigured),
    990000028: Meaning("wrong_amount", "wrong operation amount", KaspiRefused),
    990000033: Meaning("no_payment_methods", "no payment methods available", KaspiMisconfigured),
    -1401: Meaning("refused_1401", "no meaning given", KaspiRefused, _REMOTE),
    -1404: Meaning("refused_1404", "no meaning given", KaspiRefused, _REMOTE),
    990000029: Meaning("refused_990000029", "no meaning given", KaspiRefused, frozenset({Call.CLIENT_INFO})),
    990000031: Meaning("refused_990000031", "no meaning given", KaspiRefused, frozenset({Call.CLIENT_INFO})),
    990000032: Meaning(
        "refused_990000032",
        "no meaning given",
        KaspiRefused,
        frozenset({Call.CLIENT_INFO, Call.REMOTE_CREATE}),
    ),
    99000010: Meaning("refused_99000010", "no meaning given", KaspiRefused, frozenset({Call.REMOTE_CREATE})),
}

TEMPORARILY_UNAVAILABLE = -999
_ALREADY_GONE = -1501


def is_success(call: str, code: int) -> bool:
    """0 everywhere, and -1501 on device/delete: the device is gone, which is what was asked (§4)."""
    return code == 0 or (call == Call.DEVICE_DELETE and code == _ALREADY_GONE)


def classify(call: str, code: int) -> type[KaspiError]:
    """The error a non-zero code becomes on this call (§4); ValueError for a code that is success there."""
    return _meaning(call, code).error


def failure(call: str, code: int, bank_message: str | None = None) -> KaspiError:
    """The error of a non-zero code, ready to raise."""
    meaning = _meaning(call, code)
    return meaning.error(call, meaning.reason, code=code, bank_message=bank_message)


def _meaning(call: str, code: int) -> Meaning:
    if is_success(call, code):
        raise ValueError("a success has no error class")
    if code == TEMPORARILY_UNAVAILABLE:
        return Meaning("temporarily_unavailable", "service temporarily unavailable", _not_now(call))
    known = CODES.get(code)
    if known is not None and (known.calls is None or call in known.calls):
        return known
    # Not "failed": a code we don't know says nothing about what was executed.
    error = KaspiOutcomeUnknown if call in MONEY_CALLS else KaspiUnavailable
    return Meaning("unknown_code", "a code the guide does not list for this call", error)


def _not_now(call: str) -> type[KaspiError]:
    if call in MONEY_CALLS:
        return KaspiOutcomeUnknown
    # The same code is how the overload protection is believed to answer (§3.2), so these back off harder.
    return KaspiThrottled if call in _RATE_GUARDED else KaspiUnavailable
