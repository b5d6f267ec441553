"""`tolem subscriptions` as an operator runs it: a process, real books."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from dev.postgres import Database
from domain.ids import SUBSCRIPTION, new_id
from domain.subscription import Cancel
from tests.commands.test_audit import tolem
from tests.db.books import PHONE, Books
from tests.support.subscriptions import START, Subscriber

LATER = datetime(2026, 3, 1, 5, tzinfo=UTC)


@pytest.fixture
async def books(fresh_postgres: Database) -> AsyncIterator[Books]:
    made = Books(fresh_postgres)
    yield made
    await made.close()


async def listed(books: Books, *words: str) -> list[str]:
    """The ids, in their order."""
    code, said, problem = await tolem(books, "list", *words, group="subscriptions")
    assert code == 0, problem
    return [line.split()[0] for line in said.splitlines()[1:]]


async def test_they_are_listed_by_merchant_state_and_next_date(books: Books) -> None:
    first, second = Subscriber(await books.merchant()), Subscriber(await books.merchant())
    due = (await first.open()).id
    canceled = (await first.open(started_at=LATER)).id
    await first.happen(canceled, Cancel())
    sandbox = (await second.open(sandbox=True, started_at=LATER)).id
    assert await listed(books) == [sandbox, canceled, due]
    assert await listed(books, "--limit", "1") == [sandbox]
    assert await listed(books, "--merchant", first.shop.id) == [canceled, due]
    assert await listed(books, "--merchant", first.shop.id, "--state", "active") == [due]
    assert await listed(books, "--state", "canceled") == [canceled]
    # It is due at 10:00 in Almaty, and what is due is listed soonest first.
    assert await listed(books, "--due-before", "2026-01-31T10:00") == []
    assert await listed(books, "--due-before", "2026-01-31T10:01") == [due]
    assert await listed(books, "--due-before", "2026-03-02") == [due, sandbox]
    code, said, _ = await tolem(books, "list", "--merchant", second.shop.id, group="subscriptions")
    assert code == 0
    assert f"{sandbox} {second.shop.id} test active 5000.00 monthly 2026-03-01 05:00" in " ".join(said.split())


async def test_one_is_shown_with_its_periods_bills_and_events_and_no_phone(books: Books) -> None:
    payer = Subscriber(await books.merchant())
    one = await payer.open(external_order_id="[bold]member")
    invoice = await payer.billed(one.id, START)
    code, said, problem = await tolem(books, "show", one.id, group="subscriptions")
    assert code == 0, problem
    shown = " ".join(said.split())
    assert PHONE not in shown
    for part in (
        f"workflow subscription-{one.id}",
        "open period 1: live, bill 1",
        "next_billing_at 2026-02-28 05:00:00+00:00",
        "external_order_id [bold]member",
        f"1 2026-01-31 05:00 billing 5000.00 1 {invoice.id} pending {invoice.bank_payment_id}",
    ):
        assert part in shown
    await payer.paid(one.id, invoice, START)
    second = await payer.billed(one.id, datetime(2026, 2, 28, 5, tzinfo=UTC))
    shown = " ".join((await tolem(books, "show", one.id, group="subscriptions"))[1].split())
    assert f"2 2026-02-28 05:00 billing 5000.00 1 {second.id} pending" in shown
    assert f"1 2026-01-31 05:00 paid 5000.00 1 {invoice.id} paid" in shown
    assert "subscription.payment_succeeded" in shown
    shown = " ".join((await tolem(books, "show", one.id, "--last", "1", group="subscriptions"))[1].split())
    assert second.id in shown
    assert invoice.id not in shown


@pytest.mark.parametrize("command", ["show", "wake"])
async def test_what_does_not_exist_is_told(books: Books, command: str) -> None:
    code, _, said = await tolem(books, command, new_id(SUBSCRIPTION), group="subscriptions")
    assert code == 1
    assert "There is no such subscription." in said


@pytest.mark.parametrize("words", [("--state", "lost"), ("--due-before", "tomorrow"), ("--due-before", "0001-01-01")])
async def test_filters_that_say_nothing_are_refused(books: Books, words: tuple[str, ...]) -> None:
    code, _, said = await tolem(books, "list", *words, group="subscriptions")
    assert (code, words[0] in said) == (2, True)
