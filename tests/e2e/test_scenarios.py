"""The sandbox's magic values through the public door: each line of the list, for a phone, a QR and a link."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest

from domain.errors import Code
from domain.event import EventType
from domain.invoice import Kind, State
from domain.money import format_amount
from domain.scenarios import MAGIC_VALUES, Course, MagicValue, Request, Told
from tests.e2e.conftest import Listening
from tests.support.api_errors import assert_error
from tests.support.inbox import Inbox
from tests.support.shop import Shop, fresh_phone
from tests.support.waiting import until

pytestmark = pytest.mark.stack

CASES = [(value, kind) for value in MAGIC_VALUES for kind in Kind]
AT_ONCE = 6
# Nothing of a script happens sooner: an answer that came before is of a bill to which nothing has happened yet.
FIRST_DEED = timedelta(seconds=2)
EVERY = pytest.mark.parametrize(("value", "kind"), CASES, ids=[f"{value.digits}-{kind}" for value, kind in CASES])


@dataclass
class Acted:
    """One bill from its creation to its last event; `about` are it and its refunds."""

    created: httpx.Response
    invoice_id: str
    answers: list[tuple[Request, httpx.Response]] = field(default_factory=list)
    about: list[str] = field(default_factory=list)


def asked_for(value: MagicValue, kind: Kind) -> tuple[str, dict[str, object]]:
    """The request that chooses this outcome."""
    if kind is Kind.PHONE:
        return "/api/v1/invoices", {"amount": 1500, "phone_number": value.phone_example}
    return "/api/v1/qr", {"amount": float(format_amount(value.amount)), "kind": kind.value}


async def until_in(shop: Shop, invoice_id: str, state: State) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await shop.read(invoice_id)
        return found if found["state"] == state else None

    found = await until(look, f"{invoice_id} to be {state}")
    assert found is not None
    return found


async def request(shop: Shop, acted: Acted, one: Request) -> None:
    """What the merchant does in this scenario, and the end of what comes of it."""
    invoice = await until_in(shop, acted.invoice_id, one.state)
    path = f"/api/v1/invoices/{acted.invoice_id}/{one.operation}"
    share = None if one.share is None else {"amount": float(invoice["amount"]) * one.share}
    answer = await shop.test.post(path, json=share)
    acted.answers.append((one, answer))
    if answer.status_code == 201:
        acted.about.append(answer.json()["id"])

        async def over() -> bool:
            refund = await shop.test.get(f"/api/v1/refunds/{answer.json()['id']}")
            return refund.json()["status"] in {"completed", "failed"}

        await until(over, "the refund's end")


async def act(shop: Shop, inbox: Inbox, value: MagicValue, kind: Kind, room: asyncio.Semaphore) -> Acted:
    course = value.course(kind)
    async with room:
        path, body = asked_for(value, kind)
        created = await shop.test.post(path, json=body)
        shown = created.json()
        invoice_id = shown["id"] if created.status_code == 201 else shown["details"]["invoice_id"]
        acted = Acted(created, invoice_id, about=[invoice_id])
        for one in course.requests:
            await request(shop, acted, one)
        last = [one.state for one in course.events if one.type is EventType.INVOICE_STATUS_CHANGED]
        if last and not course.requests:
            await until_in(shop, invoice_id, State(last[-1]))
        return acted


@pytest.fixture(scope="module")
async def acts(listening: Listening) -> AsyncIterator[dict[tuple[str, Kind], asyncio.Task[Acted]]]:
    """All of them at once: each takes some seconds, and most of them pass in waiting."""
    room, shop, inbox = asyncio.Semaphore(AT_ONCE), listening.shop, listening.sandbox_inbox
    tasks = {(value.digits, kind): asyncio.create_task(act(shop, inbox, value, kind, room)) for value, kind in CASES}
    yield tasks
    await asyncio.gather(*tasks.values(), return_exceptions=True)


def expected_of(course: Course) -> list[Told]:
    told = list(course.events)
    for one in course.requests:
        told += one.events
    return told


def line(told: Told) -> tuple[str, str, str | None, str | None]:
    return told.type, told.state, told.reason, told.attention


def heard(inbox: Inbox, object_id: str) -> list[tuple[str, str, str | None, str | None]]:
    """What was told of an object, in the order of its life; a creation that took too long is told as well."""
    bodies = sorted((one.body for one in inbox.about(object_id)), key=lambda body: body["sequence"])
    late = [body for body in bodies if body["sequence"] == 1 and body["type"] == EventType.INVOICE_STATUS_CHANGED]
    return [
        (
            body["type"],
            body["data"]["object"].get("state") or body["data"]["object"]["status"],
            body["data"]["object"]["status_reason"],
            body["data"]["object"]["attention"],
        )
        for body in bodies
        if body not in late
    ]


@EVERY
async def test_a_magic_value_does_what_the_list_says(
    acts: dict[tuple[str, Kind], asyncio.Task[Acted]],
    shop: Shop,
    sandbox_inbox: Inbox,
    value: MagicValue,
    kind: Kind,
) -> None:
    course, acted = value.course(kind), await acts[value.digits, kind]
    assert acted.created.status_code == course.status, acted.created.text
    if course.error is None:
        shown = acted.created.json()
        assert shown["is_sandbox"] is True
        if acted.created.elapsed < FIRST_DEED:
            assert (shown["state"], shown["attention"]) == (course.state, course.attention)
            assert (shown["payment_url"] is None) == (course.attention is not None)
    else:
        assert_error(acted.created, course.error)
        code = acted.created.json()["details"].get("kaspi_code")
        assert code == (None if course.bank_code is None else str(course.bank_code))
    for asked, answer in acted.answers:
        assert answer.status_code == asked.status, answer.text
        if asked.error is not None:
            assert_error(answer, asked.error)

    expected = sorted(map(line, expected_of(course)))

    async def told() -> bool:
        return sorted(one for about in acted.about for one in heard(sandbox_inbox, about)) == expected

    try:
        await until(told, "the events")
    finally:
        assert sorted(one for about in acted.about for one in heard(sandbox_inbox, about)) == expected
    of_invoice = [line(one) for one in expected_of(course) if one.type.startswith("invoice.")]
    assert heard(sandbox_inbox, acted.invoice_id) == of_invoice
    standing = await shop.read(acted.invoice_id)
    last = [told[1] for told in of_invoice]
    assert standing["state"] == (last[-1] if last else course.state)
    assert standing["attention"] is None


async def test_live_bills_of_magic_values_are_ordinary_bills(
    acts: dict[tuple[str, Kind], asyncio.Task[Acted]], shop: Shop, inbox: Inbox
) -> None:
    made = []
    for value in MAGIC_VALUES:
        made.append(await shop.bill(phone_number=value.phone_example))
        made.append(await shop.qr(amount=float(format_amount(value.amount))))
    await asyncio.gather(*acts.values())  # by now the sandbox's bills are over
    assert {(await shop.read(one["id"]))["state"] for one in made} == {"pending"}
    assert [told.body for one in made for told in inbox.about(one["id"])] == []
    for one in made:
        assert one["is_sandbox"] is False
    await shop.pay(made[4])
    assert (await shop.until_state(made[4]["id"], "paid"))["attention"] is None


async def test_a_phone_looks_at_no_amount_and_only_the_exact_amount_counts(shop: Shop) -> None:
    ordinary = [
        await shop.sandbox_bill(amount=990_005, phone_number=fresh_phone()),
        *[
            (await shop.test.post("/api/v1/qr", json={"amount": amount})).json()
            for amount in (990_005.01, 5, 10_005, 90_005)
        ],
    ]
    assert [one["state"] for one in ordinary] == ["pending"] * len(ordinary)


async def test_the_simulated_payer_is_quicker_than_the_script(shop: Shop, sandbox_inbox: Inbox) -> None:
    expires = "77010000004"  # the slowest script: it leaves six seconds
    invoice = await shop.sandbox_bill(phone_number=expires)
    answer = await shop.simulate(invoice["id"], "canceled")
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
    other = await shop.sandbox_bill(phone_number=expires)
    await until_in(shop, other["id"], State.EXPIRED)
    assert (await shop.read(invoice["id"]))["state"] == "canceled"
    assert [told.object["state"] for told in await sandbox_inbox.wait(invoice["id"])] == ["canceled"]


@pytest.mark.long
async def test_a_script_outlives_its_worker(shop: Shop, sandbox_inbox: Inbox) -> None:
    made = [await shop.sandbox_bill(phone_number=f"7701000{digits}") for digits in ("0001", "0006")]
    await shop.stack.restart("worker")
    for one in made:
        await until_in(shop, one["id"], State.PAID)
        told = await sandbox_inbox.wait(one["id"], state="paid")  # twice, if the worker died while it was told
        assert len({one.id for one in told}) == 1
        assert told[0].object["attention"] is None


@pytest.mark.parametrize("digits", ["0002", "0009"])
async def test_what_stays_pending_is_moved_by_simulate(shop: Shop, digits: str) -> None:
    invoice = await shop.sandbox_bill(phone_number=f"7701000{digits}")
    assert (await shop.simulate(invoice["id"], "paid")).json()["state"] == "paid"


async def test_a_bill_that_nobody_has_found_yet_takes_no_simulated_payment(shop: Shop) -> None:
    invoice = await shop.sandbox_bill(phone_number="77010000006")
    assert invoice["attention"] == "kaspi_outcome_unknown"
    assert_error(await shop.simulate(invoice["id"], "paid"), Code.ILLEGAL_TRANSITION)
    await until_in(shop, invoice["id"], State.PAID)


async def test_a_refund_with_a_simulate_of_its_own_outweighs_the_scenario(shop: Shop) -> None:
    invoice = await shop.sandbox_bill(phone_number="77010000012")
    await until_in(shop, invoice["id"], State.PAID)
    path = f"/api/v1/invoices/{invoice['id']}/refund"
    made = (await shop.test.post(path, json={"amount": 1, "simulate": "pending"})).json()
    answer = await shop.test.post(f"/api/v1/sandbox/refunds/{made['id']}/simulate", json={"status": "completed"})
    assert (answer.status_code, answer.json()["status_reason"]) == (200, "simulated")


async def test_the_list_is_there_for_every_key(shop: Shop) -> None:
    for key in (shop.test, shop.live):
        answer = await key.get("/api/v1/sandbox/scenarios")
        assert answer.status_code == 200, answer.text
        assert [one["digits"] for one in answer.json()["items"]] == [f"{number:04d}" for number in range(1, 14)]
