"""Parts die by SIGKILL at the worst moments; the bank's ledger is the judge: never a second bill, never lost money."""

import asyncio
from dataclasses import dataclass

import httpx
import pytest

from tests.e2e.conftest import Listening
from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.shop import Shop, fresh_key, fresh_phone
from tests.support.waiting import until

pytestmark = pytest.mark.stack

PATH = "/api/v1/invoices"
# How long the bank thinks about a create in ms: a part must be dead by then, and the answer still be in time
# (TOLEM_ANSWER_WITHIN_SECONDS, TOLEM_KASPI_READ_TIMEOUT_SECONDS).
THINKS = 3000


async def _bought(shop: Shop, phone: str) -> list[int]:
    return [one["id"] for one in await shop.purchases(phone=phone)]


@dataclass
class Orphan:
    """A creation whose worker died between the bank's deed and its booking."""

    invoice_id: str
    body: dict[str, object]
    key: str
    purchase: int


@pytest.fixture(scope="module")
async def orphan(listening: Listening) -> Orphan:
    """Made once: it takes the longest time a bank's answer may take until the worker gives it up as unknown."""
    shop = listening.shop
    await shop.stack.heal()
    await shop.stack.emulator.clear_faults()
    waiting, code = await shop.bill(), await shop.qr()
    phone, key = fresh_phone(), fresh_key()
    body: dict[str, object] = {"amount": 64, "phone_number": phone}
    await shop.stack.emulator.fault("remote/create", "delay", delay_ms=THINKS)
    asked = asyncio.create_task(shop.live.post(PATH, json=body, headers={"Idempotency-Key": key}))
    await shop.stack.emulator.until_hit()
    await shop.stack.kill9("worker")
    (purchase,) = await until(lambda: _bought(shop, phone), "the bank to do it")
    await shop.pay(waiting)  # while nobody looks
    await shop.pay(code)
    answer = await asked
    assert (answer.status_code, answer.json()["state"]) == (201, "processing"), answer.text
    await shop.stack.start_part("worker")
    for paid in (waiting, code):
        (told,) = await listening.inbox.wait(paid["id"], state="paid")
        assert told.object == await shop.read(paid["id"])
    return Orphan(answer.json()["id"], body, key, purchase)


async def test_a_worker_killed_before_it_books_the_banks_answer_makes_no_second_bill(
    shop: Shop, orphan: Orphan
) -> None:
    repeated = await shop.live.post(PATH, json=orphan.body, headers={"Idempotency-Key": orphan.key})
    assert (repeated.status_code, repeated.json()["id"]) == (201, orphan.invoice_id)
    assert await _bought(shop, str(orphan.body["phone_number"])) == [orphan.purchase]


async def test_an_answer_that_cannot_be_booked_waits_for_the_database(shop: Shop, bank: EmulatorAdmin) -> None:
    phone, key = fresh_phone(), fresh_key()
    body: dict[str, object] = {"amount": 65, "phone_number": phone}
    await bank.fault("remote/create", "delay", delay_ms=THINKS)
    asked = asyncio.create_task(shop.live.post(PATH, json=body, headers={"Idempotency-Key": key}))
    await bank.until_hit()
    await shop.stack.kill9("postgres")
    (purchase,) = await until(lambda: _bought(shop, phone), "the bank to do it")
    await shop.stack.start_part("postgres")
    first = await asked
    assert first.status_code in {201, 503}, first.text
    made = await shop.repeat_until_made(body, key)

    async def booked() -> bool:
        standing = await shop.read(made.json()["id"])
        return (standing["state"], standing["kaspi_invoice_id"]) == ("pending", str(purchase))

    await until(booked, "the bank's answer to be booked")
    assert (await shop.read(made.json()["id"]))["attention"] is None
    assert await _bought(shop, phone) == [purchase]


async def test_an_api_killed_during_a_creation_is_asked_again_and_makes_one_bill(
    shop: Shop, bank: EmulatorAdmin
) -> None:
    phone, key = fresh_phone(), fresh_key()
    body: dict[str, object] = {"amount": 66, "phone_number": phone}
    await bank.fault("remote/create", "delay", delay_ms=THINKS)
    asked = asyncio.create_task(shop.live.post(PATH, json=body, headers={"Idempotency-Key": key}))
    await bank.until_hit()
    await shop.stack.kill9("api")
    with pytest.raises(httpx.TransportError):
        await asked
    await shop.stack.start_part("api")
    made = await shop.repeat_until_made(body, key)
    standing = await shop.until_state(made.json()["id"], "pending")
    assert await _bought(shop, phone) == [int(standing["kaspi_invoice_id"])]


async def test_temporal_killed_during_a_creation_makes_one_bill(shop: Shop, bank: EmulatorAdmin) -> None:
    phone, key = fresh_phone(), fresh_key()
    body: dict[str, object] = {"amount": 67, "phone_number": phone}
    await bank.fault("remote/create", "delay", delay_ms=THINKS)
    asked = asyncio.create_task(shop.live.post(PATH, json=body, headers={"Idempotency-Key": key}))
    await bank.until_hit()
    await shop.stack.restart("temporal")
    first = await asked
    assert first.status_code == 201, first.text  # it is in the books already
    (purchase,) = await until(lambda: _bought(shop, phone), "the bank to do it")
    made = await shop.repeat_until_made(body, key)
    assert made.json()["id"] == first.json()["id"]
    standing = await shop.read(made.json()["id"])
    assert standing["kaspi_invoice_id"] in {str(purchase), None}
    assert await _bought(shop, phone) == [purchase]


@pytest.mark.parametrize("part", ["temporal", "postgres"])
async def test_a_payment_made_while_a_part_is_dead_is_found_when_it_is_back(
    shop: Shop, inbox: Inbox, part: str
) -> None:
    invoice, code = await shop.bill(), await shop.qr()
    await shop.stack.kill9(part)
    await shop.pay(invoice)
    await shop.pay(code)
    await shop.stack.start_part(part)
    for paid in (invoice, code):
        standing = await shop.until_state(paid["id"], "paid")
        await inbox.wait(paid["id"], state="paid")
        await shop.settled(paid["id"])
        told = [one for one in inbox.about(paid["id"]) if one.object["state"] == "paid"]
        assert len({one.id for one in told}) == 1  # at least once, and always the same event
        assert told[0].object == standing


async def test_what_a_killed_worker_left_is_held_for_a_human_and_never_repeated(
    shop: Shop, inbox: Inbox, orphan: Orphan
) -> None:
    told = await inbox.wait(orphan.invoice_id)  # last of this file: the other tests pass the time
    assert {one.body["type"] for one in told} == {"invoice.attention_required"}
    assert len({one.id for one in told}) == 1  # they kill parts meanwhile: it may have come twice
    standing = await shop.read(orphan.invoice_id)
    assert (standing["state"], standing["attention"]) == ("processing", "kaspi_outcome_unknown")
    repeated = await shop.live.post(PATH, json=orphan.body, headers={"Idempotency-Key": orphan.key})
    assert (repeated.status_code, repeated.json()["id"]) == (201, orphan.invoice_id)
    assert await _bought(shop, str(orphan.body["phone_number"])) == [orphan.purchase]
