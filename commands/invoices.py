"""`tolem invoices`."""

import rich_click as click

from commands.shared import console, operator_database, run, table, workflow_engine
from db.inspection import Inspection
from domain.invoice import Invoice, bank_reference
from domain.money import format_amount
from domain.phone import mask_phone
from workflows.invoice_messages import Resolution, Resolve

RESOLVE_PATIENCE_SECONDS = 30.0


@click.group()
def invoices() -> None:
    """Look at bills, and settle those that need a human."""


def _shown(invoice: Invoice) -> list[tuple[str, str]]:
    facts = {name: getattr(invoice, name) for name in Invoice.__struct_fields__ if name not in {"phone", "description"}}
    facts |= {"amount": f"{format_amount(invoice.amount)} KZT", "refunded": format_amount(invoice.refunded)}
    facts |= {"phone": mask_phone(invoice.phone) if invoice.phone else None, "reference": bank_reference(invoice.id)}
    return [(name, str(value)) for name, value in facts.items() if value is not None]


@invoices.command("show")
@click.argument("invoice_id")
def invoices_show(invoice_id: str) -> None:
    """Everything we know of a bill: state, bank, events, webhooks. The phone is masked."""

    async def work() -> None:
        async with operator_database() as engine:
            found = await Inspection(engine).invoice(invoice_id)
        if found is None:
            raise click.ClickException("There is no such invoice.")
        facts = table("", "")
        for name, value in _shown(found.invoice):
            facts.add_row(name, value)
        if found.watch is not None:
            facts.add_row("bank's word", f"{found.watch.last_word} after {found.watch.checks} checks")
            facts.add_row("next check", str(found.watch.next_check_at or "when somebody asks"))
        facts.add_row("workflow", f"invoice-{invoice_id}")
        console.print(facts)
        told = table("event", "what", "when", "delivery", "state", "attempts", "last")
        for one in found.told:
            last = str(one.last_error or one.last_status or "")
            when = f"{one.created_at:%Y-%m-%d %H:%M:%S}"
            attempts = "" if one.attempts is None else str(one.attempts)
            told.add_row(one.event_id, one.cause, when, one.delivery_id or "", one.state or "", attempts, last)
        console.print(told)

    run(work())


@invoices.command("attention")
@click.option("--merchant", "merchant_id", help="Only this merchant's.")
def invoices_attention(merchant_id: str | None) -> None:
    """Bills that wait for a human, and why."""

    async def work() -> None:
        rows = table("id", "merchant", "why", "state", "amount", "reference", "since")
        async with operator_database() as engine:
            for one in await Inspection(engine).attention(merchant_id):
                since = f"{one.updated_at:%Y-%m-%d %H:%M}"
                why = one.attention or ""
                reference = bank_reference(one.id)
                rows.add_row(one.id, one.merchant_id, why, one.state, format_amount(one.amount), reference, since)
        console.print(rows)

    run(work())


@invoices.command("resolve")
@click.argument("invoice_id")
@click.option("--bank-payment", type=int, help="The QrPaymentId found in the Kaspi Pay app by the bill's reference.")
@click.option("--absent", is_flag=True, help="The bill is **certainly** not in the Kaspi Pay app.")
@click.option("--recheck", is_flag=True, help="Look at the bank again, after a word or an id that was not known.")
@click.option("--accept-paid", is_flag=True, help="Paid with another amount, and that is fine.")
def invoices_resolve(
    invoice_id: str, bank_payment: int | None, *, absent: bool, accept_paid: bool, recheck: bool
) -> None:
    """Settle a bill in attention; what the bank can confirm is read first. See `tolem invoices attention`."""
    chosen = [
        *([Resolve(action=Resolution.BANK_PAYMENT, bank_payment_id=bank_payment)] if bank_payment is not None else []),
        *([Resolve(action=Resolution.ABSENT)] if absent else []),
        *([Resolve(action=Resolution.ACCEPT_PAID)] if accept_paid else []),
        *([Resolve(action=Resolution.RECHECK)] if recheck else []),
    ]
    if len(chosen) != 1:
        raise click.UsageError("Give exactly one of --bank-payment, --absent, --accept-paid and --recheck.")

    async def work() -> None:
        await (await workflow_engine()).resolve(invoice_id, chosen[0], wait=RESOLVE_PATIENCE_SECONDS)
        console.print("resolved; see `tolem invoices show`")

    run(work())
