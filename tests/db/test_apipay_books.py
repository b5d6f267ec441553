"""What ApiPay's contract needs of the books: numbers, one endpoint for a bill, when it was closed."""

from typing import Any

import pytest

from db.reads import InvoiceFilter
from db.redeliveries import Redeliveries
from db.redelivery_books import RedeliveryBooks
from domain.invoice import Attention, Kind, State
from domain.redelivery import RedeliveryKind
from domain.refund import RefundState
from tests.db.books import Books, Shop, at_once
from tests.db.redeliveries import opened, turns


async def endpoint_number(books: Books, shop: Shop, endpoint_id: str) -> int:
    found = await books.reads.endpoint(shop.id, endpoint_id)
    assert found is not None
    return found.number


async def told(books: Books, object_id: str) -> set[str]:
    rows = await books.fetch(
        "select d.endpoint_id from deliveries d join events e on e.id = d.event_id where e.object_id = :id",
        id=object_id,
    )
    return {row["endpoint_id"] for row in rows}


async def test_endpoints_are_numbered_for_each_merchant_also_at_once(books: Books, shop: Shop) -> None:
    made = await at_once(6, lambda _: shop.endpoint())
    assert sorted([await endpoint_number(books, shop, one) for one in made]) == [1, 2, 3, 4, 5, 6]
    other = await books.merchant()
    assert await endpoint_number(books, other, await other.endpoint()) == 1


async def test_bills_refunds_and_endpoints_are_found_by_their_numbers(books: Books, shop: Shop) -> None:
    invoice, other = await shop.paid(), await books.merchant()
    refund = await shop.refund(invoice)
    endpoint = await shop.endpoint()
    assert await books.reads.invoice_by_number(shop.id, invoice.number) == await shop.invoice(invoice.id)
    assert await books.refund_reads.refund_by_number(shop.id, refund.number) == refund
    found = await books.reads.endpoint_by_number(shop.id, 1)
    assert found is not None
    assert found.id == endpoint
    assert await books.reads.invoice_numbers(shop.id, [invoice.id, "inv_x"]) == {invoice.id: invoice.number}
    assert await books.reads.invoice_by_number(other.id, invoice.number) is None
    assert await books.refund_reads.refund_by_number(other.id, refund.number) is None
    assert await books.reads.endpoint_by_number(other.id, 1) is None
    assert await books.reads.invoice_numbers(other.id, [invoice.id]) == {}


async def test_a_bill_with_an_endpoint_of_its_own_and_its_refunds_are_told_to_that_one(
    books: Books, shop: Shop
) -> None:
    mine, other = await shop.endpoint(), await shop.endpoint()
    routed, shared = await shop.paid(endpoint_id=mine), await shop.paid()
    refunds = [await shop.refund(one, to=RefundState.COMPLETED) for one in (routed, shared)]
    assert await told(books, routed.id) == {mine}
    assert await told(books, refunds[0].id) == {mine}
    assert await told(books, shared.id) == await told(books, refunds[1].id) == {mine, other}


async def test_an_endpoint_of_its_own_that_does_not_want_the_event_is_not_told_and_nobody_else_is(
    books: Books, shop: Shop
) -> None:
    mine = await shop.endpoint("refund.completed")
    await shop.endpoint()
    assert await told(books, (await shop.paid(endpoint_id=mine)).id) == set()


@pytest.mark.parametrize("state", [State.CANCELED, State.EXPIRED, State.FAILED])
async def test_when_a_bill_was_closed_stays_whatever_happens_to_it_later(shop: Shop, state: State) -> None:
    invoice = await shop.pending()
    assert invoice.closed_at is None
    await shop.book(invoice.id, "closed", state)
    closed = await shop.invoice(invoice.id)
    assert closed.closed_at == closed.updated_at
    await shop.book(invoice.id, "looked", attention=Attention.STATUS_DIFFERS)
    later = await shop.invoice(invoice.id)
    assert later.updated_at > closed.updated_at
    assert later.closed_at == closed.closed_at


@pytest.mark.parametrize("kind", [RedeliveryKind.MISSING, RedeliveryKind.UNDELIVERED, RedeliveryKind.ALL])
async def test_a_redelivery_passes_by_the_bills_of_another_endpoint(
    books: Books, shop: Shop, kind: RedeliveryKind
) -> None:
    mine = await shop.endpoint()
    routed, shared = await shop.paid(endpoint_id=mine), await shop.paid()
    back = await shop.refund(routed)
    late = await shop.endpoint()  # it was not there when all this was told
    walk = RedeliveryBooks(books.app, books.renderer)
    run = await opened(Redeliveries(books.app), shop, late, kind)
    taken = {one.event_id for one in await turns(walk, run)}
    rows = await books.fetch("select id, object_id from events where merchant_id = :id", id=shop.id)
    about = {row["object_id"] for row in rows if row["id"] in taken}
    assert shared.id in about
    assert not about & {routed.id, back.id}


async def test_their_search_looks_at_what_the_merchant_wrote_and_at_no_number_of_ours(books: Books, shop: Shop) -> None:
    """A shop that looks for its order 1 must not find bill 1, which is another order."""
    first = await shop.paid(external_order_id="order-7", description="Чай 50%")
    second = await shop.paid(Kind.PHONE, external_order_id=f"order-{first.number}", phone="77010000777")

    async def found(**wanted: Any) -> list[str]:
        return [one.id for one in (await books.reads.page(shop.id, InvoiceFilter(**wanted))).items]

    assert await found(order_search=str(first.number)) == [second.id]
    assert await found(order_search="777") == []
    assert await found(order_search="ORDER-7") == [first.id]
    assert await found(order_search="50%") == [first.id]
    assert await found(order_search="5_%") == []
    # Ours finds a bill by all that names it.
    assert await found(search=str(first.number)) == [second.id, first.id]
    assert await found(search="777") == [second.id]
