"""Bills: none twice, none lost, the same sums on both sides, nothing left in the air."""

from datetime import timedelta

from domain.errors import Code
from domain.invoice import CLOSED_UNPAID, OPEN, Attention, Kind
from torture.evidence import Asked, BankBill, Evidence, InvoiceRow
from torture.settings import BANK_TIMEOUT, LONGEST_DELAY
from torture.verdict import Crime, Findings, Violation

PAID = frozenset({"paid", "partially_refunded", "refunded"})
# The operations whose idempotency keys name an invoice.
_BILLS = frozenset({"invoices", "qr"})
NOT_ISSUED = frozenset({Code.KASPI_REFUSED, Code.KASPI_UNAVAILABLE, Code.KASPI_MISCONFIGURED, Code.ENGINE_UNAVAILABLE})
# From the claim to the end of what a call of the bank can last, a crash or a fault leaves its outcome unknown:
# three connect timeouts (5 s each), the answer, a margin of the worker and one of the clocks.
DOUBTFUL = timedelta(seconds=15 + BANK_TIMEOUT + LONGEST_DELAY + 10)
_EARLIER = timedelta(seconds=2)


def judge_bills(evidence: Evidence) -> Findings:
    """Every finding about bills and payments."""
    for invoice in evidence.invoices:
        yield from _charged_once(evidence, invoice)
        yield from _books_agree(evidence, invoice)
        yield from _settled(invoice)
        yield from _attention_has_a_cause(evidence, invoice)
    for asked in evidence.asked:
        if asked.operation in _BILLS:
            yield from _answers_were_true(evidence, asked)
    yield from _nothing_is_lost(evidence)


def _charged_once(evidence: Evidence, invoice: InvoiceRow) -> Findings:
    bills = evidence.bills_of(invoice.id)
    numbers = ", ".join(str(bill.id) for bill in bills)
    # An orphan QR reached nobody (fact sheet §5); a second bill to a phone reaches its payer.
    if invoice.kind is Kind.PHONE and len(bills) > 1:
        yield Violation(Crime.DOUBLE_CHARGE, f"{invoice.id} has {len(bills)} bills at the bank: {numbers}")
    if sum(bill.payments for bill in bills) > 1:
        yield Violation(Crime.DOUBLE_CHARGE, f"{invoice.id} was paid more than once: {numbers}")


def _books_agree(evidence: Evidence, invoice: InvoiceRow) -> Findings:
    bill = next((one for one in evidence.bank_bills if one.id == invoice.bank_payment_id), None)
    if bill is None:
        if invoice.state in PAID or invoice.bank_payment_id is not None:
            yield Violation(Crime.BOOKS_DIFFER, f"{invoice.id} is {invoice.state}, and the bank has no such payment")
        return
    if not bill.is_for(invoice.id):
        yield Violation(Crime.BOOKS_DIFFER, f"{invoice.id} has the payment {bill.id}, which is another invoice's")
    if bill.amount_tiyn != invoice.amount:
        yield Violation(Crime.BOOKS_DIFFER, f"{invoice.id}: {invoice.amount} here, {bill.amount_tiyn} at the bank")
    if invoice.state in PAID and bill.payments == 0:
        yield Violation(
            Crime.BOOKS_DIFFER, f"{invoice.id} is {invoice.state}, and the bank took no money for {bill.id}"
        )
    if invoice.state in CLOSED_UNPAID and bill.open:
        yield Violation(Crime.BOOKS_DIFFER, f"{invoice.id} is {invoice.state}, and its payer can still pay {bill.id}")


def _settled(invoice: InvoiceRow) -> Findings:
    if invoice.state in OPEN and invoice.attention is None:
        yield Violation(Crime.UNSETTLED, f"{invoice.id} is still {invoice.state}")


def _nothing_is_lost(evidence: Evidence) -> Findings:
    for bill in evidence.bank_bills:
        owner = next((one for one in evidence.invoices if bill.is_for(one.id)), None)
        if owner is None:
            yield Violation(Crime.LOST_PAYMENT, f"the bank's bill {bill.id} belongs to nothing in our books")
        elif owner.kind is Kind.PHONE and owner.bank_payment_id != bill.id and not _in_doubt(owner):
            yield Violation(
                Crime.LOST_PAYMENT, f"{owner.id} is {owner.state} and does not know its bill {bill.id} ({bill.status})"
            )
        elif bill.payments and not _known_as_paid(owner, bill):
            yield Violation(Crime.LOST_PAYMENT, f"{owner.id} is {owner.state}, and {bill.id} is paid at the bank")


def _known_as_paid(invoice: InvoiceRow, bill: BankBill) -> bool:
    return _in_doubt(invoice) or (invoice.state in PAID and invoice.bank_payment_id == bill.id)


def _in_doubt(invoice: InvoiceRow) -> bool:
    return invoice.attention == Attention.OUTCOME_UNKNOWN


def _answers_were_true(evidence: Evidence, asked: Asked) -> Findings:
    if len(asked.made) > 1:
        yield Violation(Crime.DOUBLE_CHARGE, f"key {asked.key} made {sorted(asked.made)}")
    known = {invoice.id for invoice in evidence.invoices}
    for made in asked.made - known:
        yield Violation(Crime.LOST_PAYMENT, f"{made} was answered to {asked.key} and is not in the books")
    if asked.made and asked.made != {asked.expected_id}:
        yield Violation(Crime.DOUBLE_CHARGE, f"key {asked.key} leads to {asked.expected_id}, not {sorted(asked.made)}")
    last = asked.last
    if last is None or last.code not in NOT_ISSUED:
        return
    for bill in evidence.bills_of(asked.expected_id):
        if bill.kind == "remote" or bill.payments:
            yield Violation(
                Crime.DOUBLE_CHARGE,
                f"{last.code} (nothing was issued) was answered to {asked.key}, and {asked.expected_id} has the bill"
                f" {bill.id}",
            )


def _attention_has_a_cause(evidence: Evidence, invoice: InvoiceRow) -> Findings:
    if invoice.attention is None:
        return
    number = invoice.bank_payment_id
    begins, ends = invoice.claimed_at - _EARLIER, invoice.claimed_at + DOUBTFUL
    causes = {
        Attention.OUTCOME_UNKNOWN: any(
            call.call == "remote/create" and begins <= call.at <= ends for call in evidence.bank_calls
        )
        or any(kill.at <= ends and kill.back_at >= begins for kill in evidence.killed),
        Attention.UNKNOWN_WORD: any(
            call.fault == "status_word" and call.purchase_id == number for call in evidence.bank_calls
        ),
        Attention.PAID_LATE: number in evidence.late_deeds(),
        Attention.REFUNDED_OUTSIDE: number in evidence.cashier_deeds(),
    }
    if not causes.get(Attention(invoice.attention), False):
        yield Violation(Crime.UNEXPLAINED, f"{invoice.id} ({invoice.state}): {invoice.attention}")
