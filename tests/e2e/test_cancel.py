"""Withdrawing a bill: only the bank's word makes it canceled, and a payment may win the race."""

import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.shop import Shop

pytestmark = pytest.mark.stack


async def _status_at_bank(shop: Shop, phone: str) -> str:
    (purchase,) = await shop.purchases(phone=phone)
    word: str = purchase["status"]
    return word


async def test_a_canceled_bill_is_canceled_at_the_bank(shop: Shop, inbox: Inbox) -> None:
    invoice = await shop.bill()
    answer = await shop.live.post(f"/api/v1/invoices/{invoice['id']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
    assert answer.json()["status_reason"] == "canceled_by_merchant"
    assert await _status_at_bank(shop, invoice["phone_number"]) == "RemotePaymentCanceled"
    (told,) = await inbox.wait(invoice["id"], state="canceled")
    assert told.object == answer.json()

    again = await shop.live.post(f"/api/v1/invoices/{invoice['id']}/cancel")
    assert (again.status_code, again.json()) == (200, answer.json())


async def test_a_payment_wins_the_race_against_the_cancel(shop: Shop, inbox: Inbox) -> None:
    invoice = await shop.bill()
    await shop.pay(invoice)
    assert_error(await shop.live.post(f"/api/v1/invoices/{invoice['id']}/cancel"), Code.INVOICE_ALREADY_PAID)
    assert (await shop.read(invoice["id"]))["state"] == "paid"
    assert await _status_at_bank(shop, invoice["phone_number"]) == "Processed"
    (told,) = await inbox.wait(invoice["id"])
    assert told.object["state"] == "paid"
    assert_error(await shop.live.post(f"/api/v1/invoices/{invoice['id']}/cancel"), Code.INVOICE_ALREADY_PAID)


@pytest.mark.parametrize("kind", ["qr", "link"])
async def test_a_qr_and_a_link_cannot_be_canceled(shop: Shop, kind: str) -> None:
    made = await shop.qr(kind=kind)
    assert_error(await shop.live.post(f"/api/v1/invoices/{made['id']}/cancel"), Code.INVOICE_NOT_CANCELABLE)
    assert (await shop.read(made["id"]))["state"] == "pending"


async def test_a_bill_the_payer_rejected_cannot_be_canceled(shop: Shop, bank: EmulatorAdmin, inbox: Inbox) -> None:
    invoice = await shop.bill()
    await bank.act(invoice["kaspi_invoice_id"], "reject")
    standing = await shop.until_state(invoice["id"], "canceled")
    assert standing["status_reason"] == "rejected_by_payer"
    (told,) = await inbox.wait(invoice["id"])
    assert told.object == standing


async def test_a_cancel_whose_answer_is_lost_is_read_back(shop: Shop, bank: EmulatorAdmin) -> None:
    invoice = await shop.bill()
    await bank.fault("remote/cancel", "execute_then_drop")
    answer = await shop.live.post(f"/api/v1/invoices/{invoice['id']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
    assert await _status_at_bank(shop, invoice["phone_number"]) == "RemotePaymentCanceled"


async def test_a_cancel_the_bank_never_gets_leaves_the_bill_open(shop: Shop, bank: EmulatorAdmin) -> None:
    invoice = await shop.bill()
    await bank.fault("remote/cancel", "drop_before", times=None)
    assert_error(await shop.live.post(f"/api/v1/invoices/{invoice['id']}/cancel"), Code.KASPI_OUTCOME_UNKNOWN)
    assert (await shop.read(invoice["id"]))["state"] == "pending"
    assert await _status_at_bank(shop, invoice["phone_number"]) == "RemotePaymentCreated"
    await bank.clear_faults()
    await shop.pay(invoice)
    await shop.until_state(invoice["id"], "paid")


async def test_money_that_comes_after_a_cancel_is_booked_and_flagged(
    shop: Shop, bank: EmulatorAdmin, inbox: Inbox
) -> None:
    invoice = await shop.bill()
    assert (await shop.live.post(f"/api/v1/invoices/{invoice['id']}/cancel")).status_code == 200
    await bank.act(invoice["kaspi_invoice_id"], "pay", late=True)
    standing = await shop.until_state(invoice["id"], "paid")
    assert (standing["attention"], standing["status_reason"]) == ("paid_after_close", "paid_after_close")
    await inbox.wait(invoice["id"], count=2)
    await shop.settled(invoice["id"])
    told = sorted(inbox.about(invoice["id"]), key=lambda one: one.body["sequence"])
    assert [one.object["state"] for one in told] == ["canceled", "paid"]
