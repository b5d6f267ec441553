"""Sandbox bills: the same story, with `simulate` as the payer."""

import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.inbox import Inbox
from tests.support.receiver import Answer
from tests.support.refunds import refund, sandbox_paid, until_refund
from tests.support.shop import Shop

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    ("simulated", "state", "status"),
    [("paid", "paid", "paid"), ("canceled", "canceled", "canceled"), ("failed", "failed", "canceled")],
)
async def test_a_simulated_payer_moves_the_bill_and_a_webhook_tells(
    shop: Shop, inbox: Inbox, sandbox_inbox: Inbox, simulated: str, state: str, status: str
) -> None:
    invoice = await shop.sandbox_bill()
    assert invoice["is_sandbox"] is True
    assert invoice["state"] == "pending"

    answer = await shop.simulate(invoice["id"], simulated)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["status"]) == (state, status)
    (told,) = await sandbox_inbox.wait(invoice["id"])
    assert told.body["is_sandbox"] is True
    assert told.object == answer.json()

    inspected = await shop.settled(invoice["id"])
    assert [one.endpoint_id for one in inspected.told] == [sandbox_inbox.endpoint_id]
    assert inbox.about(invoice["id"]) == []
    assert await shop.purchases(phone=invoice["phone_number"]) == []


async def test_simulating_pending_leaves_the_bill_open(shop: Shop) -> None:
    invoice = await shop.sandbox_bill()
    answer = await shop.simulate(invoice["id"], "pending")
    assert (answer.status_code, answer.json()["state"]) == (200, "pending")
    assert (await shop.simulate(invoice["id"], "paid")).json()["state"] == "paid"


@pytest.mark.parametrize(("first", "then"), [("paid", "canceled"), ("paid", "failed"), ("canceled", "pending")])
async def test_what_is_over_cannot_be_simulated_elsewhere(shop: Shop, first: str, then: str) -> None:
    invoice = await shop.sandbox_bill()
    assert (await shop.simulate(invoice["id"], first)).status_code == 200
    assert_error(await shop.simulate(invoice["id"], then), Code.ILLEGAL_TRANSITION)
    assert (await shop.read(invoice["id"]))["state"] == first


async def test_a_refunded_bill_takes_no_simulated_payment_though_its_story_still_runs(
    shop: Shop, sandbox_inbox: Inbox
) -> None:
    sandbox_inbox.receiver.default = Answer(delay=3)  # the story ends when its webhooks had their first attempt
    try:
        invoice = await sandbox_paid(shop)
        parts: list[tuple[dict[str, object], str]] = [({"amount": 1}, "partially_refunded"), ({}, "refunded")]
        for part, state in parts:
            made = await refund(shop.test, invoice["id"], **part)
            await until_refund(shop.test, made["id"], status="completed")
            assert_error(await shop.simulate(invoice["id"], "paid"), Code.ILLEGAL_TRANSITION)
            assert (await shop.read(invoice["id"]))["state"] == state
    finally:
        sandbox_inbox.receiver.default = Answer()


async def test_money_after_a_simulated_cancel_is_booked_and_flagged(shop: Shop, sandbox_inbox: Inbox) -> None:
    invoice = await shop.sandbox_bill()
    await shop.simulate(invoice["id"], "canceled")
    answer = await shop.simulate(invoice["id"], "paid")
    assert (answer.json()["state"], answer.json()["attention"]) == ("paid", "paid_after_close")
    (told,) = await sandbox_inbox.wait(invoice["id"], state="paid")
    assert told.body["data"]["previous_state"] == "canceled"


async def test_a_sandbox_qr_has_pictures_and_is_paid_by_simulate(shop: Shop) -> None:
    answer = await shop.test.post("/api/v1/qr", json={"amount": 20})
    made = answer.json()
    assert (answer.status_code, made["is_sandbox"]) == (201, True)
    assert made["qr_token"]
    assert made["qr_svg"]
    assert made["qr_png"]
    assert (await shop.simulate(made["id"], "paid")).json()["state"] == "paid"
    assert await shop.purchases(external_id=made["id"]) == []


async def test_a_live_key_makes_sandbox_bills_too(shop: Shop) -> None:
    invoice = await shop.bill(is_sandbox=True)
    assert invoice["is_sandbox"] is True
    assert await shop.purchases(phone=invoice["phone_number"]) == []


async def test_a_sandbox_bill_is_canceled_without_the_bank(shop: Shop) -> None:
    invoice = await shop.sandbox_bill()
    answer = await shop.test.post(f"/api/v1/invoices/{invoice['id']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
    assert answer.json()["status_reason"] == "canceled_by_merchant"


async def test_a_live_bill_cannot_be_simulated(shop: Shop) -> None:
    invoice = await shop.bill()
    answer = await shop.live.post(f"/api/v1/sandbox/invoices/{invoice['id']}/simulate", json={"status": "paid"})
    assert_error(answer, Code.NOT_SANDBOX)
    assert (await shop.read(invoice["id"]))["state"] == "pending"
