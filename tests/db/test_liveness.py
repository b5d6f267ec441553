"""What the watchdog is told to be alive, and the commands that tell a lost story again."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.liveness import Liveness, Overdue
from db.refunds import RefundLedger
from domain.ids import REFUND, new_id
from domain.invoice import Attention, Kind, State
from domain.refund import OpenRefund
from tests.db.books import PHONE, Books, Shop


@pytest.fixture
def liveness(books: Books) -> Liveness:
    return Liveness(books.operator)


async def everything(read: Callable[..., Awaitable[list[Any]]], grace: float = 0.0, *, limit: int = 3) -> list[Any]:
    """Every page of it, other tests' rows included."""
    found: list[Any] = []
    while True:
        last = found[-1] if found else ""
        page = await read(after=last if isinstance(last, str) else last.id, grace=grace, limit=limit)
        assert len(page) <= limit
        if not page:
            return found
        found += page


async def alive(liveness: Liveness, grace: float = 0.0) -> list[str]:
    return await everything(liveness.invoices, grace)


async def test_open_bills_and_cases_are_alive_and_what_is_over_is_not(
    books: Books, shop: Shop, liveness: Liveness
) -> None:
    claimed = (await shop.opened()).invoice_id
    pending, sandbox = (await shop.pending()).id, (await shop.pending(sandbox=True)).id
    paid, closed = await shop.pending(), await shop.pending()
    await shop.book(paid.id, "paid", State.PAID)
    await shop.book(closed.id, "expired", State.EXPIRED)
    late = await shop.pending()
    await shop.book(late.id, "canceled", State.CANCELED)
    await shop.book(late.id, "paid", State.PAID)
    found = await alive(liveness)
    assert found == sorted(found)
    assert len(found) == len(set(found))
    assert {claimed, pending, sandbox, late.id} <= set(found)
    assert not {paid.id, closed.id} & set(found)
    await shop.book(late.id, "acknowledged", clear_attention=True, requires=Attention.PAID_LATE)
    assert late.id not in await alive(liveness)


async def test_what_changed_a_moment_ago_is_left_alone(books: Books, shop: Shop, liveness: Liveness) -> None:
    young, old = (await shop.pending()).id, (await shop.pending()).id
    await books.do("update invoices set updated_at = now() - interval '1 hour' where id = :id", id=old)
    found = await alive(liveness, grace=600)
    assert old in found
    assert young not in found


@pytest.mark.parametrize("kind", Kind)
async def test_an_invoices_command_is_what_it_was_but_for_its_times(
    books: Books, shop: Shop, liveness: Liveness, kind: Kind
) -> None:
    order = await shop.opened(
        kind, idempotency_key=f"again-{kind}", description="Торт", external_order_id=f"order-{kind}"
    )
    resumed = await liveness.invoice_order(order.invoice_id)
    assert resumed is not None
    assert resumed == await books.watches.order(shop.id, order.invoice_id)
    assert (resumed.resumed, resumed.kind, resumed.amount) == (True, kind, order.amount)
    assert (resumed.phone, resumed.description) == (PHONE if kind is Kind.PHONE else None, "Торт")
    assert (resumed.connection_id, resumed.external_order_id) == (shop.connection_id, f"order-{kind}")
    # A repeated request must be able to join the story, and only one with the same body.
    assert (resumed.fingerprint, resumed.operation) == (order.fingerprint, order.operation)
    assert resumed.issue_before == resumed.answer_by <= datetime.now(UTC)


async def test_an_invoice_that_is_not_there_has_no_command(books: Books, shop: Shop, liveness: Liveness) -> None:
    assert await liveness.invoice_order("inv_none") is None
    with pytest.raises(LookupError):
        await books.watches.order((await books.merchant()).id, (await shop.pending()).id)


async def test_refunds_that_are_not_over_are_alive(books: Books, shop: Shop, liveness: Liveness) -> None:
    invoice = await shop.pending()
    await shop.book(invoice.id, "paid", State.PAID)
    order = OpenRefund(
        refund_id=new_id(REFUND),
        merchant_id=shop.id,
        invoice_id=invoice.id,
        is_sandbox=False,
        open_before=datetime.now(UTC) + timedelta(seconds=20),
        fingerprint="f7",
        operation="refunds",
        request_id="req_1",
        amount=1_000,
        reason="Нет в наличии",
        idempotency_key="back",
    )
    await RefundLedger(books.app, books.renderer).open(order)
    assert order.refund_id in await everything(liveness.refunds)
    assert order.refund_id not in await everything(liveness.refunds, grace=600)
    resumed = await liveness.refund_order(order.refund_id)
    assert resumed is not None
    assert (resumed.resumed, resumed.amount, resumed.invoice_id) == (True, 1_000, invoice.id)
    assert (resumed.fingerprint, resumed.operation, resumed.reason) == ("f7", "refunds", "Нет в наличии")
    assert resumed.open_before <= datetime.now(UTC)
    assert await liveness.refund_order("ref_none") is None


async def test_only_webhooks_that_nobody_attempts_are_overdue(books: Books, shop: Shop, liveness: Liveness) -> None:
    await shop.endpoint()
    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "paid", State.PAID)
    (due,) = booked.deliveries

    async def overdue(grace: float) -> list[Overdue]:
        found = await everything(liveness.deliveries, grace, limit=50)
        return [one for one in found if one.merchant_id == shop.id]

    assert await overdue(600) == []
    (one,) = await overdue(0)
    assert (one.id, one.object_id, one.cause, one.attempts) == (due.id, invoice.id, "paid", 0)
    await books.do("update deliveries set next_attempt_at = now() - interval '1 hour' where id = :id", id=due.id)
    (one,) = await overdue(600)
    assert 3590 < one.overdue < 3700
    for state in ("delivered", "dead"):
        await books.do("update deliveries set state = :state where id = :id", id=due.id, state=state)
        assert await overdue(0) == []
