"""Comparing our books with the bank's: what each pair of records means, and what may be done about it. Pure."""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.bank import BankFact, Verdict
from domain.invoice import CLOSED_UNPAID, OPEN, Attention, Kind, Reason, State
from domain.refund import Sums


class LineVerdict(StrEnum):
    """What one payment's two records say of each other."""

    MATCHED = "matched"
    MISSING_HERE = "missing_here"
    MISSING_AT_BANK = "missing_at_bank"
    AMOUNT_DIFFERS = "amount_differs"
    STATUS_DIFFERS = "status_differs"
    REFUNDED_OUTSIDE = "refunded_outside"
    PAID_AFTER_CLOSE = "paid_after_close"


class Detail(StrEnum):
    """Which case of its verdict a line is."""

    UNKNOWN_PAYMENT = "bank_does_not_know_payment"
    UNPAID_HERE = "closed_unpaid_here"
    OTHER_AMOUNT = "other_amount"
    ACCEPTED = "accepted_by_operator"
    NEWS = "bank_is_ahead"
    NOT_PAID_THERE = "not_paid_at_bank"
    STILL_PAYABLE = "still_payable"
    UNKNOWN_WORD = "unknown_status_word"
    REFUND_IN_FLIGHT = "refund_in_flight"
    REFUND_NOT_AT_BANK = "refund_not_at_bank"
    REFUNDED_ELSEWHERE = "refunded_elsewhere"
    LATE_MONEY = "late_money"
    NO_INVOICE = "no_invoice"
    REFERENCE_FITS = "reference_of_unknown_outcome"
    NOT_IN_STATEMENT = "not_in_statement"
    PAID_IN_STATEMENT = "paid_in_statement_only"


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """What our books say of a payment. Amounts in tiyn.

    `payable_until` is when the payer's time is over. `refunds_settling`: a refund of ours is on its way, or ended so
    lately that the bank's sums may not show it yet. `amount_accepted`: an operator took the bank's other amount.
    """

    invoice_id: str
    connection_id: str
    kind: Kind
    bank_payment_id: int
    state: State
    amount: int
    created_at: datetime
    refunded: int = 0
    refunded_outside: int = 0
    status_reason: Reason | None = None
    attention: Attention | None = None
    payable_until: datetime | None = None
    refunds_settling: bool = False
    amount_accepted: bool = False


class Theirs(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank says of a payment it knows; `sums` where it was asked for them and said them."""

    fact: BankFact
    sums: Sums | None = None

    @property
    def total(self) -> int | None:
        """The paid amount in tiyn, where the bank says one."""
        return self.sums.total if self.sums is not None else self.fact.amount


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a comparison concludes.

    `news` is a fact that the invoice's own story has to book; only what remains after that is a discrepancy.
    `attention` is what a human has to look at, `cause` names the fact (the same fact is told once), and
    `refunded_outside` is what somebody else has refunded by now, in tiyn.
    """

    verdict: LineVerdict = LineVerdict.MATCHED
    detail: Detail | None = None
    news: bool = False
    attention: Attention | None = None
    cause: str = ""
    refunded_outside: int | None = None


class _Standing(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    PAID = "paid"


class _Pair(StrEnum):
    AGREE = "agree"
    NEWS = "news"
    LATE_MONEY = "late_money"
    PAYABLE = "payable"
    NOT_PAID_THERE = "not_paid_there"
    UNREADABLE = "unreadable"


# Total: every standing of ours against every word of theirs (a test asserts it).
PAIRS: dict[tuple[_Standing, Verdict], _Pair] = {
    (_Standing.OPEN, Verdict.WAITING): _Pair.AGREE,
    (_Standing.OPEN, Verdict.SCANNED): _Pair.AGREE,
    (_Standing.OPEN, Verdict.PAID): _Pair.NEWS,
    (_Standing.OPEN, Verdict.FAILED): _Pair.NEWS,
    (_Standing.OPEN, Verdict.CANCELED): _Pair.NEWS,
    (_Standing.OPEN, Verdict.REJECTED): _Pair.NEWS,
    (_Standing.OPEN, Verdict.EXPIRED): _Pair.NEWS,
    (_Standing.OPEN, Verdict.UNKNOWN): _Pair.UNREADABLE,
    (_Standing.CLOSED, Verdict.WAITING): _Pair.PAYABLE,
    (_Standing.CLOSED, Verdict.SCANNED): _Pair.PAYABLE,
    (_Standing.CLOSED, Verdict.PAID): _Pair.LATE_MONEY,
    (_Standing.CLOSED, Verdict.FAILED): _Pair.AGREE,
    (_Standing.CLOSED, Verdict.CANCELED): _Pair.AGREE,
    (_Standing.CLOSED, Verdict.REJECTED): _Pair.AGREE,
    (_Standing.CLOSED, Verdict.EXPIRED): _Pair.AGREE,
    (_Standing.CLOSED, Verdict.UNKNOWN): _Pair.UNREADABLE,
    (_Standing.PAID, Verdict.WAITING): _Pair.NOT_PAID_THERE,
    (_Standing.PAID, Verdict.SCANNED): _Pair.NOT_PAID_THERE,
    (_Standing.PAID, Verdict.PAID): _Pair.AGREE,
    (_Standing.PAID, Verdict.FAILED): _Pair.NOT_PAID_THERE,
    (_Standing.PAID, Verdict.CANCELED): _Pair.NOT_PAID_THERE,
    (_Standing.PAID, Verdict.REJECTED): _Pair.NOT_PAID_THERE,
    (_Standing.PAID, Verdict.EXPIRED): _Pair.NOT_PAID_THERE,
    (_Standing.PAID, Verdict.UNKNOWN): _Pair.UNREADABLE,
}

# The bank's word becomes part of a cause; what it invents is cut.
LONGEST_WORD = 40


def judge(ours: Ours, theirs: Theirs | None, now: datetime) -> Finding:
    """Compares one payment; `theirs` None is a bank that does not know the id."""
    if theirs is None:
        return _missing_at_bank(ours)
    pair = PAIRS[_standing(ours.state), theirs.fact.verdict]
    if pair is _Pair.PAYABLE and (ours.payable_until is None or now >= ours.payable_until):
        return Finding()  # nobody can pay it any more, whatever word the bank leaves there (fact sheet §3.1)
    if theirs.fact.verdict is Verdict.PAID and theirs.total not in {None, ours.amount}:
        return _other_amount(ours, theirs)
    if pair is _Pair.AGREE:
        return _sums(ours, theirs) if is_paid(ours.state) else Finding()
    return _differs(ours, pair, theirs.fact.word[:LONGEST_WORD])


def _differs(ours: Ours, pair: _Pair, word: str) -> Finding:
    if pair is _Pair.UNREADABLE:
        attention = Attention.UNKNOWN_WORD if ours.state in OPEN else Attention.STATUS_DIFFERS
        return _status_differs(Detail.UNKNOWN_WORD, f"unknown_word:{word}", attention)
    if pair is _Pair.LATE_MONEY:
        return Finding(
            verdict=LineVerdict.PAID_AFTER_CLOSE,
            detail=Detail.LATE_MONEY,
            news=True,
            attention=Attention.STATUS_DIFFERS,  # only where the story does not book it
            cause="reconciled:late_money_not_booked",
        )
    if pair is _Pair.NEWS:
        found = _status_differs(Detail.NEWS, f"not_booked:{word}", Attention.STATUS_DIFFERS)
        return msgspec.structs.replace(found, news=True)
    if pair is _Pair.PAYABLE:
        return _status_differs(Detail.STILL_PAYABLE, "still_payable", Attention.STATUS_DIFFERS)
    return _status_differs(Detail.NOT_PAID_THERE, f"not_paid_there:{word}", Attention.STATUS_DIFFERS)


def is_paid(state: State) -> bool:
    """Money was taken, whatever went back since."""
    return state not in OPEN and state not in CLOSED_UNPAID


def _standing(state: State) -> _Standing:
    if state in OPEN:
        return _Standing.OPEN
    return _Standing.CLOSED if state in CLOSED_UNPAID else _Standing.PAID


def _status_differs(detail: Detail, cause: str, attention: Attention) -> Finding:
    return Finding(verdict=LineVerdict.STATUS_DIFFERS, detail=detail, cause=f"reconciled:{cause}", attention=attention)


def _missing_at_bank(ours: Ours) -> Finding:
    if ours.state in CLOSED_UNPAID:
        # No money on either side: worth a line, not a person; and a person may have said so already.
        declared = ours.status_reason is Reason.DECLARED_ABSENT
        return Finding() if declared else Finding(verdict=LineVerdict.MISSING_AT_BANK, detail=Detail.UNPAID_HERE)
    return Finding(
        verdict=LineVerdict.MISSING_AT_BANK,
        detail=Detail.UNKNOWN_PAYMENT,
        attention=Attention.PAYMENT_NOT_FOUND,
        cause="reconciled:missing_at_bank",
    )


def _other_amount(ours: Ours, theirs: Theirs) -> Finding:
    if ours.amount_accepted and is_paid(ours.state):
        sums = _sums(ours, theirs)
        accepted = Finding(verdict=LineVerdict.AMOUNT_DIFFERS, detail=Detail.ACCEPTED)
        return accepted if sums.verdict is LineVerdict.MATCHED else sums
    return other_amount(ours, theirs.total or 0)


def other_amount(ours: Ours, total: int) -> Finding:
    """The bank took `total` tiyn, not ours. While the invoice is not booked as paid, its own story raises the case."""
    return Finding(
        verdict=LineVerdict.AMOUNT_DIFFERS,
        detail=Detail.OTHER_AMOUNT,
        news=not is_paid(ours.state) and ours.attention is not Attention.AMOUNT_MISMATCH,
        attention=Attention.AMOUNT_MISMATCH,
        cause=f"reconciled:amount_differs:{total}",
    )


def _sums(ours: Ours, theirs: Theirs) -> Finding:
    """Refunds, by the bank's sums; both sides say paid."""
    if theirs.sums is None:
        return Finding()
    if ours.refunds_settling:
        return Finding(detail=Detail.REFUND_IN_FLIGHT)
    gone = theirs.sums.total - theirs.sums.available
    if gone > ours.refunded + ours.refunded_outside:
        return refunded_outside(gone - ours.refunded)
    if gone < ours.refunded + ours.refunded_outside:
        return _status_differs(Detail.REFUND_NOT_AT_BANK, f"refund_not_at_bank:{gone}", Attention.STATUS_DIFFERS)
    return Finding()


def refunded_outside(amount: int) -> Finding:
    """Somebody else has refunded `amount` tiyn in all."""
    return Finding(
        verdict=LineVerdict.REFUNDED_OUTSIDE,
        detail=Detail.REFUNDED_ELSEWHERE,
        attention=Attention.REFUNDED_OUTSIDE,
        cause=f"reconciled:refunded_outside:{amount}",
        refunded_outside=amount,
    )


class StatementPayment(msgspec.Struct, frozen=True, kw_only=True):
    """All that a statement says of one payment, in tiyn; `paid` None where it has only refunds of it."""

    bank_payment_id: int
    paid: int | None
    refunded: int
    references: list[str] = []


def judge_statement(ours: Ours, theirs: StatementPayment) -> Finding:
    """Compares our books with a statement. `news` means: ask the bank about this payment before believing it."""
    if not is_paid(ours.state):
        found = _status_differs(Detail.PAID_IN_STATEMENT, "paid_in_statement", Attention.STATUS_DIFFERS)
        return msgspec.structs.replace(found, news=True)
    if theirs.paid is not None and theirs.paid != ours.amount:
        if not ours.amount_accepted:
            return other_amount(ours, theirs.paid)
        return Finding(verdict=LineVerdict.AMOUNT_DIFFERS, detail=Detail.ACCEPTED)
    if theirs.refunded > ours.refunded + ours.refunded_outside:
        if ours.refunds_settling:
            return Finding(detail=Detail.REFUND_IN_FLIGHT)
        return refunded_outside(theirs.refunded - ours.refunded)
    return Finding()
