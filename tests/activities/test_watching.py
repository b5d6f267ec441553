"""The poller against the emulated bank: what it tells, what it writes, and when it looks."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from domain.bank import Verdict
from domain.invoice import Kind, State
from tests.activities.looks import (
    checked,
    last_good,
    left_alone,
    look_at,
    looked,
    noted,
    unanswered,
    unscheduled,
)
from tests.activities.town import Poller, Town, polling
from tests.db.books import Shop, issued


@pytest.fixture
async def shop(town: Town) -> Shop:
    """A merchant of this test alone: a poller looks at everything its connection has."""
    return await town.merchant()


async def test_a_payment_is_told_once_with_its_amount(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR, amount=123_45)
    await town.admin.act(payment.payment_id, "pay")
    async with polling(town, shop) as poller:
        await looked(town, shop, poller, payment.invoice_id)
        await looked(town, shop, poller, payment.invoice_id)
    ((told, fact),) = poller.mail.facts
    assert (told, fact.verdict, fact.word, fact.amount) == (payment.invoice_id, Verdict.PAID, "Processed", 123_45)
    watch = await shop.watch(payment.invoice_id)
    assert watch is not None
    assert watch["last_word"] == "Processed"
    assert watch["checks"] >= 2  # the poller looks by itself, too, when its time has come


async def test_each_step_of_the_payer_is_told_and_waiting_is_no_news(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    async with polling(town, shop) as poller:
        await looked(town, shop, poller, payment.invoice_id)
        assert poller.mail.facts == []
        for deed in ("scan", "confirm"):
            await town.admin.act(payment.payment_id, deed)
            await looked(town, shop, poller, payment.invoice_id)
    assert [fact.verdict for _, fact in poller.mail.facts] == [Verdict.SCANNED, Verdict.PAID]


async def test_news_without_a_story_starts_the_story_again(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    await town.admin.act(payment.payment_id, "pay")
    poller = Poller(town, shop)
    poller.mail.somebody_home = False
    poller.start()
    await looked(town, shop, poller, payment.invoice_id)
    await looked(town, shop, poller, payment.invoice_id)
    await poller.stop()
    ((order, fact),) = poller.mail.resumed
    assert (order.invoice_id, order.operation, fact.verdict) == (payment.invoice_id, "resumed", Verdict.PAID)


async def test_a_word_that_nobody_heard_is_told_again_and_is_no_answer(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    await town.admin.act(payment.payment_id, "pay")
    poller = Poller(town, shop)
    poller.mail.somebody_home, poller.mail.engine_away = False, True
    poller.start()
    asked = await looked(town, shop, poller, payment.invoice_id)
    assert await unanswered(town, shop, asked) == [payment.invoice_id]
    watch = await shop.watch(payment.invoice_id)
    assert watch is not None
    assert (watch["last_word"], watch["checks"]) == (None, 0)
    poller.mail.engine_away = False
    await looked(town, shop, poller, payment.invoice_id)
    await poller.stop()
    assert [fact.verdict for _, fact in poller.mail.resumed] == [Verdict.PAID]


async def test_a_strange_word_is_passed_on_as_unknown_and_logged_once(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", "status_word", word="IrisBlockCode7", times=None)
    with capture_logs() as logs:
        async with polling(town, shop) as poller:
            await looked(town, shop, poller, payment.invoice_id)
            await looked(town, shop, poller, payment.invoice_id)
    ((_, fact),) = poller.mail.facts
    assert (fact.word, fact.verdict) == ("IrisBlockCode7", Verdict.UNKNOWN)
    said = [entry for entry in logs if entry["event"] == "bank_said_unknown_word"]
    assert [(entry["log_level"], entry["invoice"], entry["word"]) for entry in said] == [
        ("warning", payment.invoice_id, "IrisBlockCode7")
    ]


async def test_only_money_is_news_of_a_closed_bill(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    await shop.book(payment.invoice_id, "expired", State.EXPIRED)
    await town.admin.fault("payment/status", "status_word", word="IrisBlockCode7", times=1)
    async with polling(town, shop) as poller:
        await looked(town, shop, poller, payment.invoice_id)
        assert poller.mail.facts == []
        await town.admin.act(payment.payment_id, "pay")
        await looked(town, shop, poller, payment.invoice_id)
    assert [fact.verdict for _, fact in poller.mail.facts] == [Verdict.PAID]


async def test_a_question_is_answered_when_the_banks_news_stands_in_the_books(town: Town, shop: Shop) -> None:
    payment, waiting = await town.issued(shop, kind=Kind.QR), await town.issued(shop, kind=Kind.QR)
    await town.admin.act(payment.payment_id, "scan")
    async with polling(town, shop) as poller:
        asked = await looked(town, shop, poller, payment.invoice_id, waiting.invoice_id)
        assert await unanswered(town, shop, asked) == [payment.invoice_id]
        await shop.book(payment.invoice_id, "scanned", State.PROCESSING)
        assert await unanswered(town, shop, asked) == []
        # Said again, it will not be booked again: nobody has to wait for that.
        await town.books.do(
            "update bank_watches set last_word = 'QrTokenCreated' where invoice_id = :id", id=payment.invoice_id
        )
        asked = await looked(town, shop, poller, payment.invoice_id)
        assert len(poller.mail.facts) == 2
        assert await unanswered(town, shop, asked) == []


async def test_a_payment_the_bank_does_not_know_is_an_alarm_and_not_a_failure(town: Town, shop: Shop) -> None:
    order = await shop.opened(Kind.QR)
    await shop.book(order.invoice_id, "issued", State.PENDING, issued=issued(payment=17), announce=False)
    with capture_logs() as logs:
        async with polling(town, shop) as poller:
            await looked(town, shop, poller, order.invoice_id)
    assert poller.mail.facts == []
    alarms = [entry for entry in logs if entry["event"] == "bank_does_not_know_payment"]
    # More than one where the machine is so slow that the poller's own next look comes, too.
    assert {(entry["log_level"], entry["invoice"]) for entry in alarms} == {("error", order.invoice_id)}
    assert (await shop.invoice(order.invoice_id)).state is State.PENDING
    watch = await shop.watch(order.invoice_id)
    assert watch is not None
    assert (watch["checks"], watch["last_word"]) == (len(alarms), None)
    assert watch["next_check_at"] is not None


async def test_after_a_qrs_time_is_over_it_is_looked_at_rarely(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    async with polling(town, shop) as poller:
        await looked(town, shop, poller, payment.invoice_id)
        assert not await left_alone(shop, payment.invoice_id, 10, since=datetime.now(UTC))()
        await town.books.do(
            "update bank_watches set deadline_at = now() - interval '1 second' where invoice_id = :id",
            id=payment.invoice_id,
        )
        over = datetime.now(UTC)
        await looked(town, shop, poller, payment.invoice_id)
        assert await left_alone(shop, payment.invoice_id, 280, since=over)()


async def test_a_qrs_next_look_is_counted_from_when_this_one_was_due(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    due = datetime.now(UTC) - timedelta(seconds=2)
    await town.books.do(
        "update bank_watches set next_check_at = :due, poll_interval = 60 where invoice_id = :id",
        due=due,
        id=payment.invoice_id,
    )
    async with polling(town, shop) as poller:
        await poller.until(checked(shop, payment.invoice_id, 1))
    watch = await shop.watch(payment.invoice_id)
    assert watch is not None
    assert watch["next_check_at"] == due + timedelta(seconds=60)


async def test_late_looks_are_four_and_a_merchants_own_questions_take_none_of_them(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    await shop.book(payment.invoice_id, "expired", State.EXPIRED)
    async with polling(town, shop) as poller:
        for _ in range(6):
            await looked(town, shop, poller, payment.invoice_id)
        watch = await shop.watch(payment.invoice_id)
        assert watch is not None
        assert (watch["checks"], watch["closed"]) == (0, True)
        assert watch["next_check_at"] is not None

        for number in range(1, 5):
            await town.books.do(
                "update bank_watches set next_check_at = now() where invoice_id = :id", id=payment.invoice_id
            )
            await poller.until(checked(shop, payment.invoice_id, number))
    watch = await shop.watch(payment.invoice_id)
    assert watch is not None
    assert watch["next_check_at"] is None


async def test_late_money_is_told_like_any_other(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    await shop.book(payment.invoice_id, "expired", State.EXPIRED)
    await town.admin.act(payment.payment_id, "pay", late=True)
    async with polling(town, shop) as poller:
        await looked(town, shop, poller, payment.invoice_id)
    assert [fact.verdict for _, fact in poller.mail.facts] == [Verdict.PAID]


async def test_without_phone_polling_a_phone_bill_is_never_looked_at_unasked(town: Town, shop: Shop) -> None:
    payment, closed = await town.issued(shop), await town.issued(shop)
    await shop.book(closed.invoice_id, "expired", State.EXPIRED)
    await town.books.do("update bank_watches set next_check_at = now() where merchant_id = :m", m=shop.id)
    calls, before = await town.received("payment/status"), await last_good(shop)
    async with polling(town, shop, phone_polling=False) as poller:
        for bill in (payment, closed):
            await poller.until(unscheduled(shop, bill.invoice_id))
        await poller.until(noted(shop, before))
    assert await town.received("payment/status") == calls


async def test_without_phone_polling_only_the_merchants_question_makes_a_look(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    async with polling(town, shop, phone_polling=False) as poller:
        await looked(town, shop, poller, payment.invoice_id)
        watch = await shop.watch(payment.invoice_id)
        assert watch is not None
        assert watch["next_check_at"] is None
        await town.admin.act(payment.payment_id, "pay")
        await looked(town, shop, poller, payment.invoice_id)
    assert [fact.verdict for _, fact in poller.mail.facts] == [Verdict.PAID]


async def test_a_poller_that_is_stopped_writes_down_what_it_saw(town: Town, shop: Shop) -> None:
    payments = [await town.issued(shop, kind=Kind.QR) for _ in range(5)]
    for payment in payments:
        await town.admin.act(payment.payment_id, "pay")
    poller = Poller(town, shop)
    poller.start()
    await look_at(town, shop, *(payment.invoice_id for payment in payments))
    await poller.mail.wait(count=5)
    ended = await poller.stop()
    assert ended.deliveries == []
    for payment in payments:
        watch = await shop.watch(payment.invoice_id)
        assert watch is not None
        assert watch["last_word"] == "Processed"
