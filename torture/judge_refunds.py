"""Refunds: none twice, never more than was paid, the same list on both sides.

The bank keeps no id of ours with a refund; the plan gives the refunds of one bill different amounts, so that payment
and amount together name one.
"""

from collections import Counter
from datetime import timedelta

from domain.errors import Code
from domain.refund import OPEN_REFUNDS, RefundState
from torture.evidence import REFUNDS, BankBill, Evidence, InvoiceRow, RefundRow
from torture.verdict import Crime, Findings, Violation

NOT_REFUNDED = frozenset({Code.REFUND_EXCEEDS_AVAILABLE, Code.INVOICE_NOT_PAID, Code.ENGINE_UNAVAILABLE})
_EARLIER = timedelta(seconds=2)


def judge_refunds(evidence: Evidence) -> Findings:
    """Every finding about refunds."""
    for invoice in evidence.invoices:
        ours = [one for one in evidence.refunds if one.invoice_id == invoice.id]
        bill = next((one for one in evidence.bank_bills if one.id == invoice.bank_payment_id), None)
        yield from _sums(invoice, ours)
        if bill is not None:
            yield from _refunded_once(evidence, invoice, ours, bill)
        elif ours:
            yield Violation(Crime.BOOKS_DIFFER, f"{invoice.id} has refunds and no payment at the bank")
    for refund in evidence.refunds:
        yield from _settled(evidence, refund)
    yield from _answers_were_true(evidence)


def _sums(invoice: InvoiceRow, ours: list[RefundRow]) -> Findings:
    completed = sum(one.amount for one in ours if one.state == RefundState.COMPLETED)
    pending = sum(one.amount for one in ours if one.state in OPEN_REFUNDS)
    if (invoice.refunded, invoice.refund_pending) != (completed, pending):
        yield Violation(
            Crime.BOOKS_DIFFER,
            f"{invoice.id} says {invoice.refunded} refunded and {invoice.refund_pending} on the way; its refunds say"
            f" {completed} and {pending}",
        )
    if completed + pending > invoice.amount:
        yield Violation(Crime.DOUBLE_REFUND, f"{invoice.id}: {completed + pending} of {invoice.amount} refunded")


def _refunded_once(evidence: Evidence, invoice: InvoiceRow, ours: list[RefundRow], bill: BankBill) -> Findings:
    at_bank = Counter(
        one.amount_tiyn for one in evidence.bank_refunds if one.purchase_id == bill.id and one.source == "api"
    )
    completed = Counter(one.amount for one in ours if one.state == RefundState.COMPLETED)
    # One in attention may have been executed or not: that is what the attention says.
    doubtful = Counter(one.amount for one in ours if one.state in OPEN_REFUNDS)
    for amount in (at_bank - completed - doubtful).elements():
        yield Violation(
            Crime.DOUBLE_REFUND, f"{invoice.id}: the bank gave {amount} back, which no refund of ours asked for"
        )
    for amount in (completed - at_bank).elements():
        yield Violation(Crime.BOOKS_DIFFER, f"{invoice.id}: a refund of {amount} is completed, and the bank made none")
    if bill.refunded_tiyn > bill.amount_tiyn * bill.payments:
        yield Violation(Crime.DOUBLE_REFUND, f"{bill.id}: {bill.refunded_tiyn} back of {bill.amount_tiyn}")
    known = {one.id: one for one in evidence.bank_refunds}
    for refund in ours:
        booked = known.get(refund.bank_return_id) if refund.bank_return_id is not None else None
        if booked is not None and (booked.purchase_id, booked.amount_tiyn) != (bill.id, refund.amount):
            yield Violation(Crime.BOOKS_DIFFER, f"{refund.id} has the bank's refund {booked.id}, which is another one")


def _settled(evidence: Evidence, refund: RefundRow) -> Findings:
    if refund.attention is None:
        if refund.state in OPEN_REFUNDS and not _waits_behind(evidence, refund):
            yield Violation(Crime.UNSETTLED, f"{refund.id} is still {refund.state}")
        return
    begins, ends = refund.created_at - _EARLIER, refund.updated_at + _EARLIER
    number = next((one.bank_payment_id for one in evidence.invoices if one.id == refund.invoice_id), None)
    if not (
        number in evidence.cashier_deeds()
        or any(call.call == "payment/return" and begins <= call.at <= ends for call in evidence.bank_calls)
        or any(kill.at <= ends and kill.back_at >= begins for kill in evidence.killed)
    ):
        yield Violation(Crime.UNEXPLAINED, f"{refund.id} ({refund.state}): {refund.attention}")


def _waits_behind(evidence: Evidence, refund: RefundRow) -> bool:
    """Refunds of one invoice go one at a time: those behind one in attention wait for the operator too."""
    return refund.state == RefundState.PENDING and any(
        one.invoice_id == refund.invoice_id and one.attention is not None and one.created_at <= refund.created_at
        for one in evidence.refunds
    )


def _answers_were_true(evidence: Evidence) -> Findings:
    known = {refund.id for refund in evidence.refunds}
    for asked in evidence.asked:
        if asked.operation != REFUNDS:
            continue
        if asked.made - {asked.expected_id}:
            yield Violation(
                Crime.DOUBLE_REFUND, f"key {asked.key} leads to {asked.expected_id}, not {sorted(asked.made)}"
            )
        for made in asked.made - known:
            yield Violation(Crime.BOOKS_DIFFER, f"{made} was answered to {asked.key} and is not in the books")
        if asked.last is not None and asked.last.code in NOT_REFUNDED and asked.expected_id in known:
            yield Violation(
                Crime.DOUBLE_REFUND, f"{asked.last.code} was answered to {asked.key}, and {asked.expected_id} exists"
            )
