"""How a purchase lives: what the bank says about it at a given moment (fact sheet §3). Pure."""

import math

from emulator.model import Purchase, ReturnQr, State
from emulator.settings import Settings

POLL_INTERVAL_S = 5
SCAN_TIMEOUT_S = 180
CONFIRM_TIMEOUT_S = 65
REMOTE_LIFE_S = 24 * 3600


def span_ms(seconds: int, settings: Settings) -> int:
    """A life span in scaled milliseconds."""
    return round(seconds * settings.time_scale * 1000)


def span_s(seconds: int, settings: Settings) -> int:
    """A life span as the bank announces it: whole seconds, never less than one."""
    return max(1, math.ceil(seconds * settings.time_scale))


def overdue(purchase: Purchase, now: int) -> bool:
    """Open, but its time is over: nothing more may happen to it."""
    if purchase.state == "created":
        return now >= purchase.expires_at
    return purchase.state == "waiting" and purchase.confirm_by is not None and now >= purchase.confirm_by


def word(purchase: Purchase, now: int, settings: Settings) -> str:
    """The bank's status word. Words after a timeout are knobs, as nobody has documented them."""
    late = overdue(purchase, now)
    remote = purchase.kind == "remote"
    waiting_word = "RemotePaymentCreated" if remote else "QrTokenCreated"
    timeout_word = settings.expire_word if remote else settings.scan_timeout_word
    words: dict[State, str] = {
        "created": timeout_word if late else waiting_word,
        "waiting": settings.confirm_timeout_word if late else "Wait",
        "paid": "Processed",
        "canceled": "RemotePaymentCanceled",
        "rejected": purchase.rejected_word or settings.reject_word,
        "failed": "Error",
    }
    return words[purchase.state]


def return_word(request: ReturnQr, now: int) -> str:
    """The status word of a refund QR (fact sheet §3.3)."""
    if request.phone is not None:
        return "CustomerIdentityObtained"
    return "Error" if request.failed or now >= request.expires_at else "QrTokenCreated"
