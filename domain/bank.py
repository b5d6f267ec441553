"""What a bank can tell us about a payment, in our words; which next state it means."""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.invoice import CLOSED_UNPAID, OPEN, Reason, State


class Verdict(StrEnum):
    """The meaning of a bank's status word. `UNKNOWN` is a word we have never seen: it never means failed."""

    WAITING = "waiting"
    SCANNED = "scanned"
    PAID = "paid"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


# The payer has not decided yet.
STILL_OPEN = frozenset({Verdict.WAITING, Verdict.SCANNED})


class Scheme(StrEnum):
    """Kaspi guide §1: r1 API key, r2 mutual TLS, r3 mutual TLS + partner (remote invoices, refunds)."""

    R1 = "r1"
    R2 = "r2"
    R3 = "r3"


class BankFact(msgspec.Struct, frozen=True, kw_only=True):
    """One status reading: the bank's own word, what it means, the paid amount in tiyn where the bank says it."""

    word: str
    verdict: Verdict
    seen_at: datetime
    amount: int | None = None


_NEXT: dict[Verdict, tuple[State, Reason | None]] = {
    Verdict.SCANNED: (State.PROCESSING, Reason.PAYER_CONFIRMING),
    Verdict.PAID: (State.PAID, None),
    Verdict.FAILED: (State.FAILED, Reason.DECLINED_OR_ERROR),
    Verdict.CANCELED: (State.CANCELED, Reason.CANCELED_AT_BANK),
    Verdict.REJECTED: (State.CANCELED, Reason.REJECTED_BY_PAYER),
    Verdict.EXPIRED: (State.EXPIRED, Reason.EXPIRED),
}


def next_step(verdict: Verdict, *, cancel_requested: bool) -> tuple[State, Reason | None] | None:
    """The state a verdict leads to, or None where it changes nothing (still waiting, or an unknown word)."""
    step = _NEXT.get(verdict)
    if step is None:
        return None
    if cancel_requested and verdict in {Verdict.CANCELED, Verdict.FAILED}:
        return State.CANCELED, Reason.CANCELED_BY_MERCHANT
    return step


def agrees(fact: BankFact, state: State, amount: int, *, payable: bool) -> bool:
    """True when the bank's word and our state tell the same story of a bill of `amount` tiyn.

    `payable`: a bill that the bank calls open could still be paid, so it must not be closed here. A purchase by QR or
    link may be called open for ever after its time (Kaspi guide §3.1).
    """
    if fact.verdict is Verdict.UNKNOWN:
        return False
    if fact.verdict is Verdict.PAID:
        return state not in OPEN | CLOSED_UNPAID and fact.amount in {None, amount}
    if fact.verdict in STILL_OPEN:
        return state in OPEN or (state in CLOSED_UNPAID and not payable)
    return state in CLOSED_UNPAID
