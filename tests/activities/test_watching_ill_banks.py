"""The poller and a bank that rejects, fails or hangs; and what it tells of a connection."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from structlog.testing import capture_logs

from domain.bank import Verdict
from domain.invoice import Kind, State
from domain.merchant import Health
from tests.activities.looks import (
    beaten,
    last_good,
    left_alone,
    look_at,
    looked,
    noted,
    unanswered,
)
from tests.activities.town import Poller, Town, polling
from tests.db.books import Shop


@pytest.fixture
async def shop(town: Town) -> Shop:
    """A merchant of this test alone: a poller looks at everything its connection has."""
    return await town.merchant()


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
            before = datetime.now(UTC)
            await looked(town, shop, poller, *(payment.invoice_id for payment in payments))
            for payment in payments:
                await poller.until(left_alone(shop, payment.invoice_id, 25, since=before))
    pauses = [entry["pause"] for entry in logs if entry["event"] == "bank_rejects_polling"]
    assert [round(pause / 30) for pause in pauses] == [1]


async def test_what_becomes_due_during_a_pause_waits_for_its_end(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", "throttle_429", times=None)
    async with polling(town, shop) as poller:
        before = datetime.now(UTC)
        await looked(town, shop, poller, payment.invoice_id)
        await poller.until(left_alone(shop, payment.invoice_id, 20, since=before))
        calls = await town.received("payment/status")
        await town.books.do(
            "update bank_watches set next_check_at = now() where invoice_id = :id", id=payment.invoice_id
        )
        await poller.until(left_alone(shop, payment.invoice_id, 20, since=before))
        assert await town.received("payment/status") == calls


async def test_a_bank_that_rejects_polling_gets_no_automatic_phone_checks_for_a_while(town: Town, shop: Shop) -> None:
    phones = [await town.issued(shop) for _ in range(2)]
    qr = await town.issued(shop, kind=Kind.QR)
    await town.admin.fault("payment/status", "throttle_429")
    async with polling(town, shop) as poller:
        before = datetime.now(UTC)
        await looked(town, shop, poller, phones[0].invoice_id)
        for phone in phones:  # the one that nobody asked about too
            await poller.until(left_alone(shop, phone.invoice_id, 25, since=before))
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
                before = datetime.now(UTC)
                await looked(town, shop, poller, payment.invoice_id)
                await poller.until(left_alone(shop, payment.invoice_id, 0.85 * pause, since=before))
    pauses = [entry["pause"] for entry in logs if entry["event"] == "bank_rejects_polling"]
    assert [round(pause / 30) for pause in pauses[:3]] == [1, 2, 4]
    assert 0.9 * 240 <= pauses[3] <= 1.1 * 240


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
    await town.admin.fault("payment/status", "error_5xx_before", times=None)
    before = datetime.now(UTC)
    async with polling(town, shop) as poller:
        asked = await looked(town, shop, poller, payment.invoice_id)
    after = datetime.now(UTC)
    # The merchant who asked is not told that the bank was.
    assert await unanswered(town, shop, asked) == [payment.invoice_id]
    watch = await shop.watch(payment.invoice_id)
    assert watch is not None
    assert (watch["checks"], watch["last_word"]) == (0, None)
    assert before < watch["next_check_at"] < after + timedelta(seconds=25)


async def test_a_bank_that_hangs_at_a_ping_holds_up_neither_heartbeats_nor_looks(town: Town, shop: Shop) -> None:
    await town.admin.fault("health/ping", "delay", delay_ms=30_000)
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
