"""The poller against the emulated bank: what it tells, what it writes, and when it leaves the bank alone."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from structlog.testing import capture_logs

from domain.bank import Verdict
from domain.invoice import Kind, State
from domain.merchant import Health
from tests.activities.town import Poller, Town, polling
from tests.db.books import Shop, issued


@pytest.fixture
async def shop(town: Town) -> Shop:
    """A merchant of this test alone: a poller looks at everything its connection has."""
    return await town.merchant()


async def look_at(town: Town, shop: Shop, *invoice_ids: str) -> dict[str, datetime]:
    """Asks for a look now."""
    asked = await town.books.watches.request(shop.id, list(invoice_ids))
    assert asked.keys() == set(invoice_ids)
    return asked


Check = Callable[[], Awaitable[bool]]


def tried(shop: Shop, *invoice_ids: str) -> Check:
    """The looks that were asked for are over, whatever came of them."""

    async def check() -> bool:
        watches = [await shop.watch(invoice_id) for invoice_id in invoice_ids]
        return all(watch is not None and watch["requested_at"] is None for watch in watches)

    return check


async def unanswered(town: Town, shop: Shop, asked: dict[str, datetime]) -> list[str]:
    return await town.books.watches.unanswered(shop.id, asked)


def left_alone(shop: Shop, invoice_id: str, seconds: float) -> Check:
    async def check() -> bool:
        watch = await shop.watch(invoice_id)
        return watch is not None and watch["next_check_at"] > datetime.now(UTC) + timedelta(seconds=seconds)

    return check


def checked(shop: Shop, invoice_id: str, checks: int) -> Check:
    async def check() -> bool:
        watch = await shop.watch(invoice_id)
        return watch is not None and watch["checks"] == checks

    return check


def unscheduled(shop: Shop, invoice_id: str) -> Check:
    async def check() -> bool:
        watch = await shop.watch(invoice_id)
        return watch is not None and watch["next_check_at"] is None

    return check


async def last_good(shop: Shop) -> datetime:
    (row,) = await shop.books.fetch("select last_ok_at from connections where id = :id", id=shop.connection_id)
    moment: datetime = row["last_ok_at"]
    return moment


def noted(shop: Shop, before: datetime) -> Check:
    """The poller has told the books that the bank answers."""

    async def check() -> bool:
        return await last_good(shop) > before

    return check


def beaten(poller: Poller, times: int) -> Check:
    async def check() -> bool:
        return poller.heartbeats >= times

    return check


async def looked(town: Town, shop: Shop, poller: Poller, *invoice_ids: str) -> dict[str, datetime]:
    asked = await look_at(town, shop, *invoice_ids)
    await poller.until(tried(shop, *invoice_ids))
    return asked


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
    assert (watch["last_word"], watch["checks"]) == ("Processed", 2)


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


@pytest.mark.parametrize("fault", ["throttle_429", "error_5xx_before"])
async def test_a_look_that_the_bank_does_not_answer_answers_nobody(town: Town, shop: Shop, fault: str) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", fault)
    async with polling(town, shop) as poller:
        asked = await looked(town, shop, poller, payment.invoice_id)
        assert await unanswered(town, shop, asked) == [payment.invoice_id]
        asked = await looked(town, shop, poller, payment.invoice_id)
        assert await unanswered(town, shop, asked) == []


async def test_many_rejections_at_once_are_one_pause(town: Town, shop: Shop) -> None:
    payments = [await town.issued(shop) for _ in range(6)]
    await town.admin.fault("payment/status", "throttle_429", times=None)
    with capture_logs() as logs:
        async with polling(town, shop) as poller:
            await looked(town, shop, poller, *(payment.invoice_id for payment in payments))
            for payment in payments:
                await poller.until(left_alone(shop, payment.invoice_id, 25))
    pauses = [entry["pause"] for entry in logs if entry["event"] == "bank_rejects_polling"]
    assert [round(pause / 30) for pause in pauses] == [1]


async def test_what_becomes_due_during_a_pause_waits_for_its_end(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", "throttle_429", times=None)
    async with polling(town, shop) as poller:
        await looked(town, shop, poller, payment.invoice_id)
        await poller.until(left_alone(shop, payment.invoice_id, 20))
        calls = await town.received("payment/status")
        await town.books.do(
            "update bank_watches set next_check_at = now() where invoice_id = :id", id=payment.invoice_id
        )
        await poller.until(left_alone(shop, payment.invoice_id, 20))
        assert await town.received("payment/status") == calls


async def test_a_bank_that_rejects_polling_gets_no_automatic_phone_checks_for_a_while(town: Town, shop: Shop) -> None:
    phones = [await town.issued(shop) for _ in range(2)]
    qr = await town.issued(shop, kind=Kind.QR)
    await town.admin.fault("payment/status", "throttle_429")
    async with polling(town, shop) as poller:
        await looked(town, shop, poller, phones[0].invoice_id)
        for phone in phones:  # the one that nobody asked about too
            await poller.until(left_alone(shop, phone.invoice_id, 25))
        waiting = await shop.watch(qr.invoice_id)
        assert waiting is not None
        assert waiting["next_check_at"] < datetime.now(UTC) + timedelta(seconds=6)
        # A merchant's own question is still passed on.
        await town.admin.act(phones[1].payment_id, "pay")
        await looked(town, shop, poller, phones[1].invoice_id)
    assert [told for told, _ in poller.mail.facts] == [phones[1].invoice_id]
    connection = await town.books.reads.connection(shop.id)
    assert connection is not None
    assert connection.health is Health.CONNECTED  # a bank that says "slower" is not away


async def test_each_rejection_in_a_row_doubles_the_pause(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", "throttle_429", times=None)
    with capture_logs() as logs:
        async with polling(town, shop) as poller:
            for pause in (30, 60, 120, 240):
                await looked(town, shop, poller, payment.invoice_id)
                await poller.until(left_alone(shop, payment.invoice_id, 0.85 * pause))
    pauses = [entry["pause"] for entry in logs if entry["event"] == "bank_rejects_polling"]
    assert [round(pause / 30) for pause in pauses[:3]] == [1, 2, 4]
    assert 0.9 * 240 <= pauses[3] <= 1.1 * 240


async def test_a_payment_the_bank_does_not_know_is_an_alarm_and_not_a_failure(town: Town, shop: Shop) -> None:
    order = await shop.opened(Kind.QR)
    await shop.book(order.invoice_id, "issued", State.PENDING, issued=issued(payment=17), announce=False)
    with capture_logs() as logs:
        async with polling(town, shop) as poller:
            await looked(town, shop, poller, order.invoice_id)
    assert poller.mail.facts == []
    alarms = [entry for entry in logs if entry["event"] == "bank_does_not_know_payment"]
    assert [(entry["log_level"], entry["invoice"]) for entry in alarms] == [("error", order.invoice_id)]
    assert (await shop.invoice(order.invoice_id)).state is State.PENDING
    watch = await shop.watch(order.invoice_id)
    assert watch is not None
    assert (watch["checks"], watch["last_word"]) == (1, None)
    assert watch["next_check_at"] is not None


@pytest.mark.parametrize(
    ("fault", "knobs", "health", "reason"),
    [
        ("error_5xx_before", {}, Health.DEGRADED, "kaspi_unavailable"),
        ("code", {"code": -1501, "execute": False}, Health.LOST, "kaspi_misconfigured"),
    ],
)
async def test_a_bank_that_fails_three_times_is_told_and_so_is_its_return(
    town: Town, shop: Shop, fault: str, knobs: dict[str, object], health: Health, reason: str
) -> None:
    endpoint = await shop.endpoint("kaspi.session_changed")
    payments = [await town.issued(shop) for _ in range(3)]
    ids = [payment.invoice_id for payment in payments]
    await town.admin.fault("payment/status", fault, times=None, **knobs)
    ill = Poller(town, shop, health_grace=0.0)
    ill.start()
    await look_at(town, shop, *ids)
    ended = await ill.task
    assert (ended.health, [ref.endpoint_id for ref in ended.deliveries]) == (health, [endpoint])
    connection = await town.books.reads.connection(shop.id)
    assert connection is not None
    assert (connection.health, connection.health_reason) == (health, reason)
    assert ill.mail.facts == []  # that the bank is away says nothing about any payment
    assert (await shop.invoice(ids[0])).state is State.PENDING

    await town.admin.clear_faults()
    well = Poller(town, shop)
    well.start()
    ended = await well.task
    assert (ended.health, [ref.endpoint_id for ref in ended.deliveries]) == (Health.CONNECTED, [endpoint])


async def test_a_hiccup_that_many_looks_notice_is_not_yet_news(town: Town, shop: Shop) -> None:
    await shop.endpoint()
    payments = [await town.issued(shop) for _ in range(6)]
    await town.admin.fault("payment/status", "error_5xx_before", times=6)
    with capture_logs() as logs:
        async with polling(town, shop) as poller:
            await looked(town, shop, poller, *(payment.invoice_id for payment in payments))
    assert len([entry for entry in logs if entry["event"] == "bank_read_failed"]) == 6
    assert await shop.events(shop.connection_id) == []


async def test_health_that_a_killed_poller_could_not_tell_is_told_by_the_next(town: Town, shop: Shop) -> None:
    endpoint = await shop.endpoint()
    await town.books.deliveries.connection_health(shop.id, shop.connection_id, Health.LOST, "kaspi_misconfigured")
    (orphan,) = await town.books.deliveries.connection_health(shop.id, shop.connection_id, Health.CONNECTED, None)
    poller = Poller(town, shop)
    poller.start()
    ended = await poller.task
    assert (ended.health, ended.deliveries) == (Health.CONNECTED, [orphan])
    assert orphan.endpoint_id == endpoint

    later = Poller(town, shop)
    later.order = msgspec.structs.replace(later.order, telling=[orphan.id])
    before = await last_good(shop)
    later.start()
    await later.until(noted(shop, before))
    assert (await later.stop()).deliveries == []


async def test_the_poller_of_a_link_out_of_use_ends_when_nothing_is_left_to_watch(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    await town.books.connection(shop.id)
    poller = Poller(town, shop, ping_every=0.05)
    poller.start()
    await looked(town, shop, poller, payment.invoice_id)
    await poller.until(beaten(poller, poller.heartbeats + 20))
    await shop.book(payment.invoice_id, "paid", State.PAID)
    async with asyncio.timeout(20):
        ended = await poller.task
    assert ended.finished


async def test_after_a_qrs_time_is_over_it_is_looked_at_rarely(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    async with polling(town, shop) as poller:
        await looked(town, shop, poller, payment.invoice_id)
        assert not await left_alone(shop, payment.invoice_id, 10)()
        await town.books.do(
            "update bank_watches set deadline_at = now() - interval '1 second' where invoice_id = :id",
            id=payment.invoice_id,
        )
        await looked(town, shop, poller, payment.invoice_id)
        assert await left_alone(shop, payment.invoice_id, 280)()


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


async def test_two_failures_are_not_yet_news(town: Town, shop: Shop) -> None:
    await shop.endpoint()
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", "error_5xx_before", times=2)
    async with polling(town, shop, health_grace=0.0) as poller:
        for _ in range(3):
            await looked(town, shop, poller, payment.invoice_id)
    assert await shop.events(shop.connection_id) == []


async def test_a_failed_look_is_repeated_soon_and_costs_no_check(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", "error_5xx_before")
    async with polling(town, shop) as poller:
        asked = await looked(town, shop, poller, payment.invoice_id)
    # The merchant who asked is not told that the bank was.
    assert await unanswered(town, shop, asked) == [payment.invoice_id]
    watch = await shop.watch(payment.invoice_id)
    assert watch is not None
    assert (watch["checks"], watch["last_word"]) == (0, None)
    assert timedelta(0) < watch["next_check_at"] - datetime.now(UTC) < timedelta(seconds=25)


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


async def test_a_bank_that_hangs_at_a_ping_holds_up_neither_heartbeats_nor_looks(town: Town, shop: Shop) -> None:
    await town.admin.fault("health/ping", "delay", delay_ms=9_000)
    before = await town.received("health/ping")
    payment = await town.issued(shop, kind=Kind.QR)
    await town.admin.act(payment.payment_id, "pay")
    poller = Poller(town, shop)
    poller.start()
    await poller.until(beaten(poller, 3))  # nothing was due in the first round, so it pinged
    await looked(town, shop, poller, payment.invoice_id)
    assert [fact.verdict for _, fact in poller.mail.facts] == [Verdict.PAID]
    assert await town.received("health/ping") == before  # it has not been answered yet
    await poller.stop()


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
