"""`tolem attention`: the cases that need a human, what the bank says about them now, and what may safely be done."""

from typing import NamedTuple

import rich_click as click
from click.exceptions import Exit

from activities.looking import BankView
from commands.console import console, table
from commands.operator_name import operator_name
from commands.shared import operator_database, run, workflow_engine
from db.inspection import Inspection
from domain.errors import Code, TolemError
from domain.ids import INVOICE, REFUND
from domain.invoice import Invoice, bank_reference
from domain.money import format_amount
from domain.refund import Refund
from workflows import refund_messages
from workflows.client import Engine, EngineAway
from workflows.invoice_cases import CASES, choices
from workflows.invoice_messages import Resolution, Resolve
from workflows.refund_messages import RefundResolution, ResolveRefund

PATIENCE_SECONDS = 30.0
STILL_A_CASE = 3

_TAGS = str.maketrans({"*": None, "`": None})


class Doable(NamedTuple):
    """One safe choice, as a person types it."""

    choice: str
    does: str
    options: str = ""


@click.group()
def attention() -> None:
    """Cases that need a human: list them, look at one, settle it. Every decision is audited."""


@attention.command("list")
@click.option("--merchant", "merchant_id", help="Only this merchant's.")
def attention_list(merchant_id: str | None) -> None:
    """Invoices and refunds that wait for a human, and why."""

    async def work() -> None:
        rows = table("id", "merchant", "mode", "why", "state", "amount", "reference", "since")
        async with operator_database() as engine:
            books = Inspection(engine)
            cases: list[Invoice | Refund] = [
                *await books.attention(merchant_id),
                *await books.refund_attention(merchant_id),
            ]
        for one in cases:
            mode, since = "test" if one.is_sandbox else "live", f"{one.updated_at:%Y-%m-%d %H:%M}"
            reference = bank_reference(one.id if isinstance(one, Invoice) else one.invoice_id)
            why, amount = str(one.attention), format_amount(one.amount)
            rows.add_row(one.id, one.merchant_id, mode, why, str(one.state), amount, reference, since)
        console.print(rows if cases else "Nothing needs a human.")

    run(work())


@attention.command("show")
@click.argument("object_id")
def attention_show(object_id: str) -> None:
    """What happened, what our books say, what the **bank** says now, and the safe choices."""

    async def work() -> None:
        case = await _case(object_id)
        facts = table("our books", "")
        for name, value in _books(case):
            facts.add_row(name, value)
        console.print(facts)
        if case.attention is None:
            console.print("\nNothing needs a human.")
            return
        console.print(f"\n[bold]What happened[/bold]\n{_happened(case)}\n\n[bold]What the bank says now[/bold]")
        engine = await workflow_engine()
        for line in await _bank_says(engine, case):
            console.print(line)
        console.print("\n[bold]Safe choices[/bold]")
        for one in _safe(case):
            console.print(f"{one.does}:\n    tolem attention resolve {object_id} --choice {one.choice}{one.options}")

    run(work())


@attention.command("resolve")
@click.argument("object_id")
@click.option("--choice", required=True, help="One of the safe choices that `tolem attention show` tells.")
@click.option("--bank-payment", type=int, help="With `bank_payment`: the QrPaymentId found in the Kaspi Pay app.")
@click.option("--by", "by", help="Who decides; the system's user name otherwise.")
@click.option("--note", default="", help="Why, for the audit log. No names or phones of payers.")
def attention_resolve(object_id: str, choice: str, bank_payment: int | None, by: str | None, note: str) -> None:
    """Settle a case. Exit code 3: it was looked at again and is a case still."""

    async def work() -> None:
        case = await _case(object_id)
        fitting = [one.choice for one in _safe(case)]
        if choice not in fitting:
            fits = f"what fits is {', '.join(fitting)}" if fitting else "nothing needs a human there"
            raise click.ClickException(f"`{choice}` does not fit {object_id} ({case.attention or case.state}): {fits}.")
        if (choice == Resolution.BANK_PAYMENT) != (bank_payment is not None):
            raise click.UsageError("--bank-payment goes with --choice bank_payment, and only with it.")
        await _decide(await workflow_engine(), case, choice, bank_payment, by or operator_name(), note)
        after = await _case(object_id)
        if after.attention is not None and after.attention == case.attention:
            console.print(f"{object_id} is {after.state}, and still a case: {after.attention}")
            raise Exit(STILL_A_CASE)
        now = f"now a case of {after.attention}" if after.attention else "no case any more"
        console.print(f"{object_id} is {after.state}, {now}")

    run(work())


async def _case(object_id: str) -> Invoice | Refund:
    async with operator_database() as engine:
        books = Inspection(engine)
        found: Invoice | Refund | None = None
        if object_id.startswith(f"{INVOICE}_"):
            inspected = await books.invoice(object_id)
            found = None if inspected is None else inspected.invoice
        elif object_id.startswith(f"{REFUND}_"):
            found = await books.refund(object_id)
    if found is None:
        raise click.ClickException("There is no such invoice or refund.")
    return found


def _books(case: Invoice | Refund) -> list[tuple[str, str]]:
    names = ("id", "merchant_id", "invoice_id", "kind", "state", "status_reason", "attention", "bank_payment_id")
    shown = [(name, str(getattr(case, name))) for name in names if getattr(case, name, None) is not None]
    sums = ("amount", "refunded", "refund_pending", "refunded_outside")
    shown += [(name, f"{format_amount(getattr(case, name))} KZT") for name in sums if getattr(case, name, 0)]
    shown.append(("reference", bank_reference(case.id if isinstance(case, Invoice) else case.invoice_id)))
    shown.append(("since", f"{case.updated_at:%Y-%m-%d %H:%M:%S} UTC"))
    return shown


def _happened(case: Invoice | Refund) -> str:
    text = ""
    if isinstance(case, Invoice) and case.attention is not None:
        text = CASES[case.attention].happened.format(reference=bank_reference(case.id))
    elif isinstance(case, Refund) and case.attention is not None:
        text = refund_messages.MEANINGS[case.attention]
    return text.translate(_TAGS)


def _safe(case: Invoice | Refund) -> list[Doable]:
    if isinstance(case, Invoice):
        found = choices(case.attention, case.state)
        return [
            Doable(one.action, one.does, " --bank-payment …" if one.action is Resolution.BANK_PAYMENT else "")
            for one in found
        ]
    if case.attention is None:
        return []
    sandbox, live = refund_messages.SANDBOX_CHOICES, refund_messages.CHOICES[case.attention]
    return [Doable(one, refund_messages.WHAT_IT_DOES[one]) for one in (sandbox if case.is_sandbox else live)]


async def _bank_says(engine: Engine, case: Invoice | Refund) -> list[str]:
    """Read live, through the worker; that it can't be read is told, because the choices stand all the same."""
    if case.is_sandbox:
        return ["There is no bank behind a sandbox."]
    if case.bank_payment_id is None:
        return ["We know no payment at the bank to ask about."]
    try:
        return await (_invoice_look(engine, case.id) if isinstance(case, Invoice) else _refund_look(engine, case.id))
    except TolemError as error:
        if error.code in {Code.INVOICE_CLOSED, Code.REFUND_CLOSED}:
            return ["Its workflow does not run; the watchdog starts it within minutes."]
        return [f"It cannot be asked now: {error.message}"]
    except EngineAway as error:
        return [f"It cannot be asked now: {error}."]


async def _invoice_look(engine: Engine, invoice_id: str) -> list[str]:
    return _told(await engine.look_at_invoice(invoice_id, wait=PATIENCE_SECONDS))


def _told(view: BankView) -> list[str]:
    status = f"not readable: {view.no_status}" if view.word is None else f"{view.word} ({view.verdict})"
    lines = [f"status: {status}"]
    if view.amount is not None:
        lines.append(f"paid by its status: {format_amount(view.amount)} KZT")
    if view.total is not None and view.available is not None:
        lines.append(f"paid: {format_amount(view.total)} KZT, can be refunded: {format_amount(view.available)} KZT")
    else:
        lines.append(f"sums: not readable: {view.no_sums}")
    return lines


async def _refund_look(engine: Engine, refund_id: str) -> list[str]:
    sums = (await engine.look_at_refund(refund_id, wait=PATIENCE_SECONDS)).bank
    if sums is None:
        return ["sums: not readable"]
    return [f"paid: {format_amount(sums.total)} KZT, can be refunded: {format_amount(sums.available)} KZT"]


async def _decide(
    engine: Engine, case: Invoice | Refund, choice: str, bank_payment: int | None, by: str, note: str
) -> None:
    if isinstance(case, Invoice):
        ask = Resolve(action=Resolution(choice), bank_payment_id=bank_payment, by=by, note=note)
        await engine.resolve(case.id, ask, wait=PATIENCE_SECONDS)
    else:
        refund = ResolveRefund(action=RefundResolution(choice), by=by, note=note)
        await engine.resolve_refund(case.id, refund, wait=PATIENCE_SECONDS)
