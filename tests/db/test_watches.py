"""Which payments are due for a look, and what a look writes."""

from datetime import UTC, datetime, timedelta

import msgspec

from db.watches import Due, Looked
from domain.invoice import Kind, State
from tests.db.books import Books, Shop, issued

SOON = timedelta(seconds=30)


async def due(books: Books, shop: Shop, limit: int = 100) -> list[Due]:
    return await books.watches.due(shop.id, shop.connection_id, limit=limit)


async def make_due(books: Books, shop: Shop) -> None:
    await books.do(
        "update bank_watches set next_check_at = now() - interval '1 second' where merchant_id = :m", m=shop.id
    )


async def test_an_issued_bill_is_watched_and_due_after_its_first_pause(books: Books, shop: Shop) -> None:
    phone = await shop.pending(Kind.PHONE)
    qr = await shop.pending(Kind.QR)
    assert await due(books, shop) == []
    waits = await books.fetch(
        "select w.invoice_id, extract(epoch from w.next_check_at - i.updated_at)::float as wait from bank_watches w"
        " join invoices i on i.id = w.invoice_id where w.merchant_id = :m",
        m=shop.id,
    )
    pauses = {row["invoice_id"]: row["wait"] for row in waits}  # both are of the booking's own moment
    assert pauses == {phone.id: 10.0, qr.id: 5.0}
    await make_due(books, shop)
    found = {one.invoice_id: one for one in await due(books, shop)}
    assert found.keys() == {phone.id, qr.id}
    assert found[qr.id].bank_payment_id == qr.bank_payment_id
    assert (found[qr.id].amount, found[qr.id].poll_interval) == (qr.amount, 5.0)
    assert (found[qr.id].checks, found[qr.id].last_word, found[qr.id].closed) == (0, None, False)


async def test_another_connections_payments_are_not_mine_to_look_at(books: Books, shop: Shop) -> None:
    await shop.pending()
    await make_due(books, shop)
    assert await books.watches.due(shop.id, await books.connection(shop.id), limit=10) == []
    assert len(await due(books, shop)) == 1


async def test_a_look_is_written_down_and_sets_the_next(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    await make_due(books, shop)
    (one,) = await due(books, shop)
    following = datetime.now(UTC) + SOON
    await books.watches.looked(shop.id, [one.after(word="RemotePaymentCreated", checks=1, next_check_at=following)])
    watch = await shop.watch(invoice.id)
    assert watch is not None
    assert (watch["last_word"], watch["checks"], watch["next_check_at"]) == ("RemotePaymentCreated", 1, following)
    assert watch["last_checked_at"] is not None
    assert await due(books, shop) == []


async def test_a_request_makes_a_payment_due_at_once_and_before_the_others(books: Books, shop: Shop) -> None:
    invoices = [await shop.pending() for _ in range(3)]
    await make_due(books, shop)
    last = invoices[-1].id
    asked = await books.watches.request(shop.id, [last, "inv_none"])
    assert list(asked) == [last]
    assert [one.invoice_id for one in await due(books, shop, limit=1)] == [last]
    assert await books.watches.unanswered(shop.id, asked) == [last]


async def test_a_look_answers_the_request_it_saw(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    asked = await books.watches.request(shop.id, [invoice.id])
    (one,) = await due(books, shop)
    await books.watches.looked(shop.id, [one.after(word="w", checks=1, next_check_at=None)])
    assert await books.watches.unanswered(shop.id, asked) == []
    assert await due(books, shop) == []


async def test_a_request_that_came_during_a_look_stays_due(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    await make_due(books, shop)
    (one,) = await due(books, shop)
    asked = await books.watches.request(shop.id, [invoice.id])
    await books.watches.looked(shop.id, [one.after(word="w", checks=1, next_check_at=datetime.now(UTC) + SOON)])
    assert await books.watches.unanswered(shop.id, asked) == [invoice.id]
    assert [again.last_word for again in await due(books, shop)] == ["w"]


async def test_many_looks_are_written_at_once_and_none_of_a_stranger(books: Books, shop: Shop) -> None:
    other = await books.merchant()
    invoices = [await shop.pending() for _ in range(20)]
    strangers = await other.pending()
    looks = [
        Looked(invoice_id=invoice.id, word=f"w{number}", checks=number, next=None, requested_at=None, closed=False)
        for number, invoice in enumerate([*invoices, strangers])
    ]
    await books.watches.looked(shop.id, looks)
    rows = await books.fetch("select invoice_id, last_word from bank_watches where merchant_id = :m", m=shop.id)
    assert {row["invoice_id"]: row["last_word"] for row in rows} == {
        invoice.id: f"w{number}" for number, invoice in enumerate(invoices)
    }
    watch = await other.watch(strangers.id)
    assert watch is not None
    assert watch["last_word"] is None


async def test_a_look_without_the_banks_answer_answers_no_request(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    asked = await books.watches.request(shop.id, [invoice.id])
    (one,) = await due(books, shop)
    await books.watches.looked(shop.id, [one.after(word=None, checks=0, next_check_at=None, answered=False)])
    assert await due(books, shop) == []
    assert await books.watches.unanswered(shop.id, asked) == [invoice.id]


async def test_a_request_is_answered_when_the_news_is_booked(books: Books, shop: Shop) -> None:
    invoice = await shop.pending(Kind.QR)
    asked = await books.watches.request(shop.id, [invoice.id])
    (one,) = await due(books, shop)
    await books.watches.looked(shop.id, [one.after(word="Wait", checks=1, next_check_at=None, news=True)])
    assert await books.watches.unanswered(shop.id, asked) == [invoice.id]
    # A second look at the same word does not make the first one's news booked.
    asked = await books.watches.request(shop.id, [invoice.id])
    (one,) = await due(books, shop)
    await books.watches.looked(shop.id, [one.after(word="Wait", checks=2, next_check_at=None)])
    assert await books.watches.unanswered(shop.id, asked) == [invoice.id]
    await shop.book(invoice.id, "scanned", State.PROCESSING)
    assert await books.watches.unanswered(shop.id, asked) == []


async def test_a_request_about_a_payment_that_is_booked_as_paid_is_answered(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    asked = await books.watches.request(shop.id, [invoice.id])
    await shop.book(invoice.id, "paid", State.PAID)
    assert await books.watches.unanswered(shop.id, asked) == []


async def test_without_phone_polling_a_phone_bill_is_due_only_when_somebody_asks(books: Books, shop: Shop) -> None:
    phone, qr = await shop.pending(Kind.PHONE), await shop.pending(Kind.QR)
    closed = await shop.pending(Kind.PHONE)
    await shop.book(closed.id, "expired", State.EXPIRED)
    await make_due(books, shop)
    found = await books.watches.due(shop.id, shop.connection_id, limit=10, phone_polling=False)
    assert [one.invoice_id for one in found] == [qr.id]
    await books.watches.request(shop.id, [phone.id])
    found = await books.watches.due(shop.id, shop.connection_id, limit=10, phone_polling=False)
    assert [one.invoice_id for one in found] == [phone.id, qr.id]
    watch = await shop.watch(closed.id)
    assert watch is not None
    assert watch["next_check_at"] is None


async def test_the_command_that_resumes_a_story_tells_the_bill_as_it_was_asked_for(books: Books, shop: Shop) -> None:
    order = shop.order(Kind.PHONE, description="Coffee", external_order_id="o-1")
    assert (await books.ledger.open_invoice(order)).claimed
    invoice = await shop.invoice(order.invoice_id)
    resumed = await books.watches.order(shop.id, order.invoice_id)
    assert resumed == msgspec.structs.replace(
        order,
        issue_before=invoice.created_at,
        answer_by=invoice.created_at,
        fingerprint="",
        operation="resumed",
        late_watch=60.0,
        resumed=True,
    )


async def watched(books: Books) -> set[str]:
    return {connection.id for connection in await books.registry.watched_connections()}


async def test_a_link_out_of_use_is_watched_as_long_as_something_of_it_is_open(books: Books, shop: Shop) -> None:
    old, invoice = shop.connection_id, await shop.pending(Kind.QR)
    await books.connection(shop.id)
    assert old in await watched(books)
    assert await books.watches.needed(shop.id, old)
    await shop.book(invoice.id, "expired", State.EXPIRED)
    assert old in await watched(books)  # late money may still come
    assert await books.watches.needed(shop.id, old)
    await books.do("update bank_watches set next_check_at = null where invoice_id = :id", id=invoice.id)
    assert old not in await watched(books)
    assert not await books.watches.needed(shop.id, old)


async def test_an_open_bill_without_a_watch_keeps_its_links_poller(books: Books, shop: Shop) -> None:
    await shop.opened(Kind.QR)
    await books.connection(shop.id)
    assert shop.connection_id in await watched(books)
    assert await books.watches.needed(shop.id, shop.connection_id)


async def test_rejected_polling_postpones_its_kinds_and_brings_nothing_nearer(books: Books, shop: Shop) -> None:
    phone, qr, far = await shop.pending(Kind.PHONE), await shop.pending(Kind.QR), await shop.pending(Kind.PHONE)
    silent = await shop.pending(Kind.PHONE)
    now = datetime.now(UTC)
    hour = now + timedelta(hours=1)
    await books.do("update bank_watches set next_check_at = :t where invoice_id = :id", t=hour, id=far.id)
    await books.do("update bank_watches set next_check_at = null where invoice_id = :id", id=silent.id)
    asked = await books.watches.request(shop.id, [phone.id])
    await books.watches.postpone(shop.id, shop.connection_id, kinds=[Kind.PHONE], until=now + SOON)
    nexts = {}
    for invoice in (phone, qr, far, silent):
        watch = await shop.watch(invoice.id)
        assert watch is not None
        nexts[invoice.id] = watch["next_check_at"]
    assert (nexts[phone.id], nexts[far.id], nexts[silent.id]) == (now + SOON, hour, None)
    assert nexts[qr.id] < now + SOON
    assert await books.watches.unanswered(shop.id, asked) == [phone.id]  # the bank has not answered it


async def test_a_paid_bill_is_watched_no_more(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    await shop.book(invoice.id, "paid", State.PAID)
    assert await shop.watch(invoice.id) is None
    assert await books.watches.request(shop.id, [invoice.id]) == {}


async def test_an_unpaid_close_starts_the_late_watch_anew(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    await books.do("update bank_watches set checks = 40, next_check_at = null where invoice_id = :id", id=invoice.id)
    await shop.book(invoice.id, "expired", State.EXPIRED)
    watch = await shop.watch(invoice.id)
    assert watch is not None
    assert (watch["closed"], watch["checks"]) == (True, 0)
    assert timedelta(0) < watch["next_check_at"] - datetime.now(UTC) <= timedelta(seconds=20)


async def test_a_look_from_before_the_close_does_not_cut_the_late_watch_short(books: Books, shop: Shop) -> None:
    """The look that saw "expired" is written after the story has booked it: the usual order of things."""
    invoice = await shop.pending(Kind.QR)
    await books.do("update bank_watches set checks = 40 where invoice_id = :id", id=invoice.id)
    await make_due(books, shop)
    (one,) = await due(books, shop)
    await shop.book(invoice.id, "expired", State.EXPIRED)
    closed = await shop.watch(invoice.id)
    await books.watches.looked(
        shop.id, [one.after(word="Expired", checks=41, next_check_at=datetime.now(UTC) + timedelta(seconds=5))]
    )
    watch = await shop.watch(invoice.id)
    assert watch is not None
    assert closed is not None
    assert (watch["checks"], watch["next_check_at"]) == (0, closed["next_check_at"])
    assert watch["last_word"] == "Expired"


async def test_the_wish_to_cancel_is_remembered(books: Books, shop: Shop) -> None:
    invoice = await shop.pending()
    await books.ledger.cancel_asked(shop.id, invoice.id)
    await make_due(books, shop)
    assert [one.cancel_requested for one in await due(books, shop)] == [True]


async def test_a_bill_issued_twice_keeps_its_first_watch(shop: Shop) -> None:
    invoice = await shop.pending()
    first = await shop.watch(invoice.id)
    await shop.book(invoice.id, "scanned", State.PROCESSING)
    await shop.book(invoice.id, "issued", State.PENDING, issued=issued(invoice.bank_payment_id))
    assert await shop.watch(invoice.id) == first
