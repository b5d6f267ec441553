"""`tolem invoices`."""

import rich_click as click

from commands.console import console, table
from commands.shared import operator_database, run, told_table
from db.inspection import Inspection
from domain.invoice import Invoice, bank_reference
from domain.money import format_amount
from domain.phone import mask_phone


@click.group()
def invoices() -> None:
    """Look at bills; those that need a human are settled by `tolem attention`."""


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
        console.print(told_table(found.told))

    run(work())
