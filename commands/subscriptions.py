"""`tolem subscriptions`."""

from datetime import UTC, datetime

import rich_click as click
from rich.markup import escape
from rich.table import Table

from commands.console import console, table
from commands.shared import operator_database, run, told_table, workflow_engine
from db.subscription_inspection import InspectedSubscription, SubscriptionBill, SubscriptionInspection
from domain.billing_calendar import ALMATY
from domain.money import format_amount
from domain.phone import mask_phone
from domain.subscription import OpenPeriod, State
from domain.subscription_record import Subscription, SubscriptionPeriod, SubscriptionRef
from workflows.subscription_client import workflow_id

# Told in words of their own, or about a person, or of no use to an operator.
_UNSHOWN = frozenset({"standing", "phone", "description", "items", "metadata"})


@click.group()
def subscriptions() -> None:
    """Look at subscriptions, and begin a lost workflow again; what they owe are bills: `tolem attention`."""


@subscriptions.command("list")
@click.option("--merchant", "merchant_id", help="Only this merchant's.")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only those in this state.")
@click.option(
    "--due-before",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]),
    help="Only those whose next bill is due before this (Asia/Almaty), soonest first.",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
def subscriptions_list(merchant_id: str | None, state: str | None, due_before: datetime | None, limit: int) -> None:
    """List subscriptions, newest first."""
    moment = _utc(due_before)

    async def work() -> None:
        rows = table("id", "merchant", "mode", "state", "amount", "period", "next bill", "open period", "since")
        async with operator_database() as engine:
            wanted = None if state is None else State(state)
            for one in await SubscriptionInspection(engine).subscriptions(merchant_id, wanted, moment, limit=limit):
                rows.add_row(
                    one.id, one.merchant_id, "test" if one.is_sandbox else "live", one.state, format_amount(one.amount),
                    one.period, _moment(one.next_billing_at), _open(one.standing.open), _moment(one.created_at),
                )  # fmt: skip
        console.print(rows)

    run(work())


@subscriptions.command("show")
@click.argument("subscription_id")
@click.option("--last", type=click.IntRange(1, 3660), default=12, show_default=True, help="So many periods and events.")
def subscriptions_show(subscription_id: str, last: int) -> None:
    """Everything we know of a subscription: dates, periods, bills, events, webhooks. The phone is masked."""

    async def work() -> None:
        async with operator_database() as engine:
            found = await SubscriptionInspection(engine).whole(subscription_id, limit=last)
        if found is None:
            raise click.ClickException("There is no such subscription.")
        facts = table("", "")
        for name, value in _shown(found.subscription):
            facts.add_row(name, escape(value))
        console.print(facts)
        console.print(_periods(found))
        console.print(told_table(found.told, by_type=True))

    run(work())


@subscriptions.command("wake")
@click.argument("subscription_id")
def subscriptions_wake(subscription_id: str) -> None:
    """Begin its workflow again from the books, if none runs. Harmless: nothing is billed that is not due."""

    async def work() -> None:
        async with operator_database() as database:
            found = await SubscriptionInspection(database).one(subscription_id)
        if found is None:
            raise click.ClickException("There is no such subscription.")
        engine = await workflow_engine()
        ran = await engine.runs(workflow_id(found.id))
        ref = SubscriptionRef(merchant_id=found.merchant_id, subscription_id=found.id, is_sandbox=found.is_sandbox)
        await engine.resume_subscription(ref)
        console.print(f"{workflow_id(found.id)} {'runs already' if ran else 'begins again from the books'}")

    run(work())


def _utc(local: datetime | None) -> datetime | None:
    try:
        return None if local is None else local.replace(tzinfo=ALMATY).astimezone(UTC)
    except OverflowError:
        raise click.BadParameter("is out of range", param_hint="--due-before") from None


def _shown(one: Subscription) -> list[tuple[str, str]]:
    facts = {name: getattr(one, name) for name in Subscription.__struct_fields__ if name not in _UNSHOWN}
    facts |= {"amount": f"{format_amount(one.amount)} KZT", "phone": mask_phone(one.phone)}
    facts |= {"payer": ", ".join(one.payer) or None, "open period": _open(one.standing.open) or None}
    facts |= {"lapsed period": one.standing.lapsed, "workflow": workflow_id(one.id)}
    return [(name, str(value)) for name, value in facts.items() if value is not None]


def _open(open_: OpenPeriod | None) -> str:
    """`3: live, bill 2, 1 failed, outcome unknown`."""
    if open_ is None:
        return ""
    parts = [open_.phase.value]
    parts += [f"bill {open_.charge}"] if open_.charge else []
    parts += [f"{open_.attempts} failed"] if open_.attempts else []
    parts += [f"{open_.faults} times without a bank"] if open_.faults else []
    parts += ["outcome unknown"] if open_.unknown else []
    parts += [f"then skipped: {open_.closing}"] if open_.closing is not None else []
    until = open_.at or open_.grace_until
    parts += [f"until {_moment(until)}"] if until is not None else []
    return f"{open_.number}: {', '.join(parts)}"


def _periods(found: InspectedSubscription) -> Table:
    rows = table("period", "due", "state", "reason", "amount", "bill", "invoice", "is", "attention", "payment")
    for period in found.periods:
        bills = [bill for bill in found.bills if bill.number == period.number]
        rows.add_row(*_period(period), *_bill(bills[0] if bills else None))
        for bill in bills[1:]:
            rows.add_row(*("",) * 5, *_bill(bill))
    return rows


def _period(one: SubscriptionPeriod) -> tuple[str, ...]:
    return str(one.number), _moment(one.due_at), one.state, one.reason or "", format_amount(one.amount)


def _bill(one: SubscriptionBill | None) -> tuple[str, ...]:
    if one is None:
        return ("",) * 5
    return str(one.charge), one.id, one.state, one.attention or "", str(one.bank_payment_id or "")


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"
