"""An operator settles the unknown outcome of a subscription's bill: the bank's books have one bill for the period."""

from typing import Any

import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.operating import operate
from tests.support.shop import Shop, fresh_phone
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.long]

PATH = "/api/v1/subscriptions"


async def read(shop: Shop, subscription_id: str, path: str = "") -> dict[str, Any]:
    answer = await shop.live.get(f"{PATH}/{subscription_id}{path}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def open_period(shop: Shop, subscription_id: str, *, unknown: bool) -> dict[str, Any]:
    """The open period once it says so."""

    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] | None = (await read(shop, subscription_id))["open_period"]
        return found if found is not None and found["outcome_unknown"] is unknown else None

    found = await until(look, f"outcome_unknown to be {unknown}")
    assert found is not None
    return found


async def in_doubt(shop: Shop, bank: EmulatorAdmin, fault: str) -> tuple[str, str, str]:
    """A live subscription the answer to whose first bill was lost, that bill, and the payer's phone."""
    phone = fresh_phone()
    await bank.fault("remote/create", fault)
    answer = await shop.live.post(PATH, json={"phone_number": phone, "amount": 777})
    assert answer.status_code == 201, answer.text
    subscription_id = str(answer.json()["id"])
    doubt = await open_period(shop, subscription_id, unknown=True)
    assert_error(await shop.live.post(f"{PATH}/{subscription_id}/bill-now"), Code.CHARGE_IN_FLIGHT)
    return subscription_id, str(doubt["invoice_id"]), phone


async def paid(shop: Shop, inbox: Inbox, subscription_id: str, invoice_id: str) -> None:
    """The payer pays this bill; the period is paid, and that is told once."""
    await shop.pay(await shop.read(invoice_id))
    (told,) = await inbox.wait(subscription_id)
    assert told.body["type"] == "subscription.payment_succeeded"
    assert told.body["data"]["period"]["invoice_id"] == invoice_id
    stands = await read(shop, subscription_id)
    assert (stands["status"], stands["open_period"]) == ("active", None)
    (period,) = (await read(shop, subscription_id, "/periods"))["items"]
    assert (period["number"], period["status"]) == (1, "paid")


async def test_a_bill_that_is_found_at_the_bank_is_the_periods_bill(
    shop: Shop, bank: EmulatorAdmin, inbox: Inbox
) -> None:
    subscription_id, invoice_id, phone = await in_doubt(shop, bank, "execute_then_drop")
    (purchase,) = await shop.purchases(phone=phone)
    found = ("--choice", "bank_payment", "--bank-payment", str(purchase["id"]))
    code, said = await operate(shop.stack, "attention", "resolve", invoice_id, *found)
    assert (code, said) == (0, f"{invoice_id} is pending, no case any more")
    known = await open_period(shop, subscription_id, unknown=False)
    assert (known["phase"], known["bills"], known["invoice_id"]) == ("live", 1, invoice_id)
    await paid(shop, inbox, subscription_id, invoice_id)
    assert [one["id"] for one in await shop.purchases(phone=phone)] == [purchase["id"]]


async def test_a_bill_that_is_not_at_the_bank_is_made_again(shop: Shop, bank: EmulatorAdmin, inbox: Inbox) -> None:
    subscription_id, invoice_id, phone = await in_doubt(shop, bank, "drop_before")
    assert await shop.purchases(phone=phone) == []
    code, said = await operate(shop.stack, "attention", "resolve", invoice_id, "--choice", "absent")
    assert (code, said) == (0, f"{invoice_id} is failed, no case any more")
    known = await open_period(shop, subscription_id, unknown=False)
    assert (known["phase"], known["bank_faults"], known["failed_attempts"]) == ("waiting", 1, 0)
    assert known["next_bill_at"] is not None
    billed = await shop.live.post(f"{PATH}/{subscription_id}/bill-now")
    assert billed.status_code == 200, billed.text
    second = str(billed.json()["open_period"]["invoice_id"])
    assert second != invoice_id

    async def out() -> bool:
        items = (await read(shop, subscription_id, "/invoices"))["items"]
        return [(one["id"], one["state"]) for one in items] == [(second, "pending"), (invoice_id, "failed")]

    await until(out, "the second bill")
    await paid(shop, inbox, subscription_id, second)
    (purchase,) = await shop.purchases(phone=phone)
    assert purchase["status"] == "Processed"
