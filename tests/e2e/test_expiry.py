"""What time does to codes: the poller looks unasked, and after the deadline the bank is asked once more."""

import asyncio

import pytest

from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.shop import Shop

pytestmark = [pytest.mark.stack, pytest.mark.long]


async def test_paid_codes_are_found_unasked_and_unpaid_ones_expire(
    shop: Shop, bank: EmulatorAdmin, inbox: Inbox
) -> None:
    await bank.change({"time_scale": 0.06})  # 10.8 s for us to scan and pay, 3.9 s to confirm
    scanned, paid = await asyncio.gather(shop.qr(), shop.qr())
    await bank.act(scanned["kaspi_invoice_id"], "scan")
    await shop.pay(paid)
    await bank.change({"time_scale": 0.01})  # these are left alone: 1.8 s
    ignored, link = await asyncio.gather(shop.qr(), shop.qr(kind="link"))

    (told_paid,) = await inbox.wait(paid["id"])
    assert told_paid.object["state"] == "paid"
    for made in (ignored, scanned, link):
        (told,) = await inbox.wait(made["id"], state="expired")
        standing = await shop.read(made["id"])
        assert told.object == standing
        assert (standing["status"], standing["attention"]) == ("canceled", None)
        confirming = made is scanned
        assert standing["status_reason"] == ("payer_did_not_confirm" if confirming else "not_paid_in_time")

    await bank.act(ignored["kaspi_invoice_id"], "pay", late=True)
    standing = await shop.until_state(ignored["id"], "paid")
    assert standing["attention"] == "paid_after_close"
    (told_late,) = await inbox.wait(ignored["id"], state="paid")
    assert told_late.object == standing
    assert told_late.body["data"]["previous_state"] == "expired"
