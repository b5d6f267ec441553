"""The poller against the emulated bank: what it tells, what it writes, and when it leaves the bank alone."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

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


async def look_at(town: Town, shop: Shop, *invoice_ids: str) -> None:
    """Asks for a look now, and waits until the poller has answered."""
    asked = list(invoice_ids)
    assert await town.books.watches.request(shop.id, asked) == asked


Check = Callable[[], Awaitable[bool]]


def answered(town: Town, shop: Shop, *invoice_ids: str) -> Check:
    async def check() -> bool:
        return not await town.books.watches.unanswered(shop.id, list(invoice_ids))

    return check


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


def beaten(poller: Poller, times: int) -> Check:
    async def check() -> bool:
        return poller.heartbeats >= times

    return check


async def looked(town: Town, shop: Shop, poller: Poller, *invoice_ids: str) -> None:
    await look_at(town, shop, *invoice_ids)
    await poller.until(answered(town, shop, *invoice_ids))


async def tried(town: Town, shop: Shop, poller: Poller, invoice_id: str) -> None:
    """Like `looked`, for a bank that gives no answer."""
    before = await shop.watch(invoice_id)
    assert before is not None
    await look_at(town, shop, invoice_id)

    async def check() -> bool:
        watch = await shop.watch(invoice_id)
        return watch is not None and watch["last_checked_at"] != before["last_checked_at"]

    await poller.until(check)


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


async def test_a_word_that_nobody_heard_is_told_again(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, kind=Kind.QR)
    await town.admin.act(payment.payment_id, "pay")
    poller = Poller(town, shop)
    poller.mail.somebody_home = False
    with capture_logs() as logs:
        poller.start()
        await looked(town, shop, poller, payment.invoice_id)
        poller.mail.somebody_home = True
        await looked(town, shop, poller, payment.invoice_id)
        await poller.stop()
    assert [fact.verdict for _, fact in poller.mail.facts] == [Verdict.PAID, Verdict.PAID]
    assert [entry["invoice"] for entry in logs if entry["event"] == "no_workflow_for_payment"] == [payment.invoice_id]


async def test_a_strange_word_is_passed_on_as_unknown(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", "status_word", word="IrisBlockCode7", times=None)
    async with polling(town, shop) as poller:
        await looked(town, shop, poller, payment.invoice_id)
    ((_, fact),) = poller.mail.facts
    assert (fact.word, fact.verdict) == ("IrisBlockCode7", Verdict.UNKNOWN)


async def test_a_bank_that_rejects_polling_gets_no_automatic_phone_checks_for_a_while(town: Town, shop: Shop) -> None:
    phones = [await town.issued(shop) for _ in range(2)]
    qr = await town.issued(shop, kind=Kind.QR)
    await town.admin.fault("payment/status", "throttle_429")
    async with polling(town, shop) as poller:
        await tried(town, shop, poller, phones[0].invoice_id)
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
                await tried(town, shop, poller, payment.invoice_id)
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
    ill = Poller(town, shop)
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


async def test_two_failures_are_not_yet_news(town: Town, shop: Shop) -> None:
    await shop.endpoint()
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", "error_5xx_before", times=2)
    async with polling(town, shop) as poller:
        for _ in range(2):
            await tried(town, shop, poller, payment.invoice_id)
        await looked(town, shop, poller, payment.invoice_id)
    assert await shop.events(shop.connection_id) == []


async def test_a_failed_look_is_repeated_soon_and_costs_no_check(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", "error_5xx_before")
    async with polling(town, shop) as poller:
        await tried(town, shop, poller, payment.invoice_id)
    # The merchant who asked is not told that the bank was.
    assert await town.books.watches.unanswered(shop.id, [payment.invoice_id]) == [payment.invoice_id]
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
