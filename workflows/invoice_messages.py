"""What one says to an invoice's workflow, its state in one struct, and what the Temporal UI shows of it."""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.bank import Verdict
from domain.invoice import OPEN, Attention, OpenInvoice, State, bank_reference
from domain.money import format_amount


class AwaitIssued(msgspec.Struct, frozen=True, kw_only=True):
    """Argument of the update `issued`; asking again opens the window again."""

    fingerprint: str
    issue_before: datetime


class Simulate(msgspec.Struct, frozen=True, kw_only=True):
    """Argument of the update `simulate`."""

    verdict: Verdict


class Resolution(StrEnum):
    """An operator's choices."""

    BANK_PAYMENT = "bank_payment"
    ABSENT = "absent"
    ACCEPT_PAID = "accept_paid"
    RECHECK = "recheck"


class Resolve(msgspec.Struct, frozen=True, kw_only=True):
    """Argument of the update `resolve`; `bank_payment_id` goes with `bank_payment`."""

    action: Resolution
    bank_payment_id: int | None = None


class InvoiceStory(msgspec.Struct, kw_only=True):
    """All that the workflow knows besides its order."""

    issue_before: datetime
    state: State = State.PROCESSING
    attention: Attention | None = None
    issued: bool = False
    missed: bool = False
    payment_id: int | None = None
    deadline: datetime | None = None
    cancel_requested: bool = False
    rechecks: int = 0
    shown: tuple[State, Attention | None] | None = None


_ADVICE = {
    Attention.OUTCOME_UNKNOWN: (
        "The bank's answer to the create was lost, so **the payer may hold a bill we cannot see**. Nothing is "
        "repeated. Look in the Kaspi Pay app for the reference `{reference}`, then send the update `resolve`:\n"
        '- found: `{{"action": "bank_payment", "bank_payment_id": <QrPaymentId>}}`\n'
        '- certainly not there: `{{"action": "absent"}}`'
    ),
    Attention.AMOUNT_MISMATCH: (
        "The bank says it is paid **with another amount**. Check the payment in the Kaspi Pay app; then the update "
        '`resolve` with `{{"action": "accept_paid"}}` books it as paid.'
    ),
    Attention.PAYMENT_NOT_FOUND: (
        "The bank **does not know this payment**, though it gave us its id. Ask the bank; then the update `resolve`: "
        '`{{"action": "recheck"}}` or, when it certainly does not exist, `{{"action": "absent"}}`.'
    ),
    Attention.UNKNOWN_WORD: (
        "The bank says **a status word we do not know**; the worker's log has it. We keep looking. The update "
        '`resolve` with `{{"action": "recheck"}}` looks at once.'
    ),
    Attention.PAID_LATE: (
        "The money came **after the invoice was closed**. It is booked; the merchant decides to honour or refund it."
    ),
}


def details(order: OpenInvoice, story: InvoiceStory) -> str:
    """Markdown for the Temporal UI: what the invoice is, what it waits for, what one can do. No personal data."""
    amount = format_amount(order.amount)
    lines = [f"**{story.state}** · {order.kind} · {amount} KZT · {'sandbox' if order.is_sandbox else 'live'}"]
    if story.payment_id is not None:
        lines.append(f"Bank payment `{story.payment_id}`.")
    if story.attention is not None:
        lines.append(_ADVICE[story.attention].format(reference=bank_reference(order.invoice_id)))
    elif story.state in OPEN and story.deadline is not None:
        until = f"{story.deadline:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(f"Waits for the payer until `{until}`; then the bank is asked once more.")
        if order.is_sandbox:
            lines.append('Update `simulate` with `{"verdict": "paid"}` is the payer.')
        elif order.kind == "phone":
            lines.append("Update `cancel` asks the bank to withdraw the bill.")
    elif story.state not in OPEN:
        lines.append("The story is over; webhooks that failed live on in `delivery-…` workflows.")
    return "\n\n".join(lines)
