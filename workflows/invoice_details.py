"""What the Temporal UI shows of an invoice."""

from domain.invoice import CLOSED_UNPAID, OPEN, OpenInvoice, bank_reference
from domain.money import format_amount
from workflows.invoice_cases import CASES, choices
from workflows.invoice_messages import InvoiceStory, Resolution


def details(order: OpenInvoice, story: InvoiceStory) -> str:
    """Markdown: what the invoice is, what it waits for, what one can do. No personal data."""
    amount = format_amount(order.amount)
    lines = [f"**{story.state}** · {order.kind} · {amount} KZT · {'sandbox' if order.is_sandbox else 'live'}"]
    if story.payment_id is not None:
        lines.append(f"Bank payment `{story.payment_id}`. The update `look` tells what the bank says now.")
    if order.is_sandbox and order.scenario is not None:
        lines.append(f"Acts out `{order.scenario}` (docs/sandbox.md).")
    if story.attention is not None:
        lines += _case(order, story)
    elif story.state in OPEN and story.deadline is not None:
        until = f"{story.deadline:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(f"Waits for the payer until `{until}`; then the bank is asked once more.")
        if order.is_sandbox:
            lines.append('Update `simulate` with `{"verdict": "paid"}` is the payer.')
        elif order.kind == "phone":
            lines.append("Update `cancel` asks the bank to withdraw the bill.")
    elif story.state in CLOSED_UNPAID and story.payment_id is not None:
        lines.append("Closed; money that comes late is still watched for.")
    elif story.state not in OPEN:
        lines.append("The story is over; webhooks that failed live on in `delivery-…` workflows.")
    return "\n\n".join(lines)


def _case(order: OpenInvoice, story: InvoiceStory) -> list[str]:
    if story.attention is None:
        return []
    lines = [CASES[story.attention].happened.format(reference=bank_reference(order.invoice_id))]
    lines.append("Then send the update `resolve` (`by` and `note` go into the audit log):")
    choice_lines = []
    for one in choices(story.attention, story.state):
        payment = ', "bank_payment_id": 0' if one.action is Resolution.BANK_PAYMENT else ""
        choice_lines.append(f'- `{{"action": "{one.action}"{payment}, "by": "…"}}`: {one.does}')
    return [*lines, "\n".join(choice_lines)]
