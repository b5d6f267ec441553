"""What stands in the log after each kind of write, and how it is listed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.audit_reads import AuditChains, AuditFilter, AuditReads
from db.errors import BankPaymentTaken
from db.registry import Registry
from domain.audit import AuditRow
from domain.audit_chain import ChainCheck
from domain.invoice import Attention, Reason, State
from domain.merchant import Health, Mode
from tests.db.books import Books, Shop, at_once, issued


async def rows(books: Books, merchant_id: str, object_id: str | None = None) -> list[AuditRow]:
    """Oldest first."""
    found = [row async for row in AuditChains(books.operator).rows(merchant_id)]
    return [row for row in found if object_id in {None, row.object_id}]


async def story(books: Books, shop: Shop, object_id: str) -> list[tuple[str, str, str | None, str | None]]:
    told = await rows(books, shop.id, object_id)
    return [(f"{row.actor_kind}:{row.actor_id}", row.action, row.before, row.after) for row in told]


async def test_a_bills_life_is_told_with_who_did_it(books: Books, shop: Shop) -> None:
    order = await shop.opened(asked_by="key_7", request_id="req_42")
    invoice_id, workflow = order.invoice_id, f"workflow:invoice-{order.invoice_id}"
    await shop.book(invoice_id, "issued", State.PENDING, issued=issued())
    await books.ledger.cancel_asked(shop.id, invoice_id, "key_8")
    await shop.book(invoice_id, "canceled", State.CANCELED, reason=Reason.CANCELED_BY_MERCHANT, asked_by="key_8")
    await shop.book(invoice_id, "paid", State.PAID)
    assert await story(books, shop, invoice_id) == [
        ("key:key_7", "invoice.created", None, "processing"),
        (workflow, "invoice.pending", "processing", "pending"),
        ("key:key_8", "invoice.cancel_asked", None, None),
        ("key:key_8", "invoice.canceled", "pending", "canceled"),
        (workflow, "invoice.paid", "canceled", "paid/paid_after_close"),
    ]
    told = await rows(books, shop.id, invoice_id)
    assert [row.request_id for row in told] == ["req_42", None, None, None, None]
    assert [row.note for row in told] == [None, None, None, "canceled_by_merchant", None]
    assert {(row.object_type, row.is_sandbox, row.merchant_id) for row in told} == {("invoice", False, shop.id)}


async def test_an_operators_decision_bears_the_name_and_the_reason(books: Books, shop: Shop) -> None:
    order = await shop.opened()
    invoice_id, workflow = order.invoice_id, f"workflow:invoice-{order.invoice_id}"
    await shop.book(invoice_id, "lost", attention=Attention.OUTCOME_UNKNOWN)
    await shop.book(
        invoice_id,
        "declared_absent",
        State.FAILED,
        reason=Reason.DECLARED_ABSENT,
        clear_attention=True,
        operator="aigerim",
        note="not in the app after 24 hours",
    )
    assert await story(books, shop, invoice_id) == [
        (workflow, "invoice.created", None, "processing"),
        (workflow, "invoice.attention", "processing", "processing/kaspi_outcome_unknown"),
        ("operator:aigerim", "invoice.failed", "processing/kaspi_outcome_unknown", "failed"),
    ]
    assert (await rows(books, shop.id, invoice_id))[-1].note == "not in the app after 24 hours"


async def test_an_attention_that_is_settled_is_told(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    await shop.book(invoice.id, "unknown_word", attention=Attention.UNKNOWN_WORD)
    await shop.book(invoice.id, "rechecked", clear_attention=True, operator="aigerim")
    assert (await story(books, shop, invoice.id))[-1] == (
        "operator:aigerim", "invoice.attention_cleared", "pending/kaspi_unknown_status", "pending",
    )  # fmt: skip


async def test_what_is_repeated_is_told_once(books: Books, shop: Shop) -> None:
    order = shop.order(sandbox=True, idempotency_key="k", asked_by="key_7")
    await at_once(5, lambda _: books.ledger.open_invoice(order))
    bank = issued()
    await at_once(5, lambda _: shop.book(order.invoice_id, "issued", State.PENDING, issued=bank))
    await at_once(5, lambda _: shop.book(order.invoice_id, "paid", State.PAID))
    await shop.book(order.invoice_id, "expired", State.EXPIRED)  # has become impossible
    actions = [(row.action, row.is_sandbox) for row in await rows(books, shop.id, order.invoice_id)]
    assert actions == [("invoice.created", True), ("invoice.pending", True), ("invoice.paid", True)]

    live = await shop.pending()
    await at_once(5, lambda _: books.ledger.cancel_asked(shop.id, live.id, "key_7"))
    assert [row.action for row in await rows(books, shop.id, live.id)].count("invoice.cancel_asked") == 1


async def test_what_was_refused_is_not_told(books: Books, shop: Shop) -> None:
    first, second = await shop.pending(payment=77), await shop.opened()
    before = await rows(books, shop.id)
    with pytest.raises(BankPaymentTaken):
        await shop.book(second.invoice_id, "issued", State.PENDING, issued=issued(77))
    assert await rows(books, shop.id) == before
    assert (await shop.invoice(first.id)).bank_payment_id == 77


async def test_many_bills_at_once_of_one_merchant_make_one_whole_chain(books: Books, shop: Shop) -> None:
    async def life(number: int) -> None:
        invoice = await shop.pending(sandbox=number % 2 == 0)
        await shop.book(invoice.id, "paid", State.PAID)

    begun = len(await rows(books, shop.id))
    await at_once(25, life)
    check = ChainCheck(shop.id)
    for row in await rows(books, shop.id):
        check.read(row)
    assert check.finish() is None
    assert check.position == begun + 75


async def test_what_operators_and_keys_set_up_is_told(books: Books) -> None:
    books.registry = Registry(books.operator, "aigerim")
    try:
        shop = await books.merchant()
        key = await books.registry.add_key(shop.id, Mode.TEST, "t", hashed=shop.id.encode(), hint="abcd")
        assert await books.registry.revoke_key(key)
        assert not await books.registry.revoke_key(key)
        await books.deliveries.connection_health(shop.id, shop.connection_id, Health.LOST, "kaspi_misconfigured")
        await books.deliveries.connection_health(shop.id, shop.connection_id, Health.LOST, "kaspi_misconfigured")
        second = await books.connection(shop.id)
    finally:
        books.registry = Registry(books.operator)
    endpoint = await shop.endpoint(sandbox=True)
    first, who = shop.connection_id, "aigerim"
    told = [
        (row.actor_id, row.action, row.object_id, row.before, row.after, row.is_sandbox)
        for row in await rows(books, shop.id)
    ]
    assert told == [
        (who, "merchant.created", shop.id, None, None, False),
        (who, "connection.created", first, None, "connected", False),
        (who, "api_key.created", key, None, "valid", True),
        (who, "api_key.revoked", key, "valid", "revoked", True),
        (f"kaspi-session-{first}", "connection.lost", first, "connected", "lost/kaspi_misconfigured", False),
        (who, "connection.retired", first, "lost", "retired", False),
        (who, "connection.created", second, None, "connected", False),
        ("key_1", "webhook_endpoint.created", endpoint, None, "enabled", True),
    ]


# --- listing


async def listed(books: Books, shop: Shop, **wanted: Any) -> list[tuple[str, str]]:
    found = await AuditReads(books.app).page(shop.id, AuditFilter(**wanted))
    return [(row.action, row.object_id) for row in found.items]


async def test_the_filters_find_what_they_name(books: Books) -> None:
    shop = await books.merchant()
    live, sandbox = await shop.opened(asked_by="key_7"), await shop.opened(sandbox=True, asked_by="key_8")
    await shop.book(live.invoice_id, "lost", State.FAILED)
    one, two = live.invoice_id, sandbox.invoice_id
    newest_first = [
        ("invoice.failed", one), ("invoice.created", two), ("invoice.created", one),
        ("connection.created", shop.connection_id), ("merchant.created", shop.id),
    ]  # fmt: skip
    assert await listed(books, shop) == newest_first
    assert await listed(books, shop, object_id=one) == [newest_first[0], newest_first[2]]
    assert await listed(books, shop, object_type="connection") == [newest_first[3]]
    assert await listed(books, shop, action="invoice.created") == newest_first[1:3]
    assert await listed(books, shop, actor_id="key_8") == [newest_first[1]]
    assert await listed(books, shop, actor_id=f"invoice-{one}") == [newest_first[0]]
    assert await listed(books, shop, is_sandbox=True) == [newest_first[1]]
    now, hour = datetime.now(UTC), timedelta(hours=1)
    assert await listed(books, shop, date_from=now - hour, date_to=now + hour) == newest_first
    assert await listed(books, shop, date_from=now + hour) == []
    assert await listed(books, shop, date_to=now - hour) == []


async def test_pages_walk_the_log_without_gaps_while_it_grows(books: Books) -> None:
    shop = await books.merchant()
    for _ in range(5):
        await shop.opened()
    reads, walked, before = AuditReads(books.app), list[int](), None
    while True:
        page = await reads.page(shop.id, AuditFilter(limit=2, before=before))
        walked += [row.position for row in page.items]
        await shop.opened()
        if not page.has_more:
            break
        before = page.items[-1].position
    assert walked == [7, 6, 5, 4, 3, 2, 1]
    by_number = await reads.page(shop.id, AuditFilter(limit=2, offset=2))
    assert [row.position for row in by_number.items] == [9, 8]
    assert (by_number.total, by_number.has_more) == (11, True)


async def test_another_merchants_rows_do_not_exist(books: Books, shop: Shop) -> None:
    stranger = await books.merchant()
    order = await shop.opened()
    assert await listed(books, stranger, object_id=order.invoice_id) == []
    assert {object_id for _, object_id in await listed(books, stranger)} == {stranger.id, stranger.connection_id}
