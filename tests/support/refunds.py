"""What tests ask of a shop's refunds, and of the bank's book of them."""

from typing import Any

import httpx

from tests.support.shop import Shop
from tests.support.waiting import until


async def paid_bill(shop: Shop, **fields: object) -> dict[str, Any]:
    """A live phone invoice whose payment is booked."""
    made = await shop.bill(**fields)
    await shop.pay(made)
    return await shop.until_state(made["id"], "paid")


async def sandbox_paid(shop: Shop, **fields: object) -> dict[str, Any]:
    """A sandbox invoice that is paid."""
    made = await shop.sandbox_bill(**fields)
    answer = await shop.simulate(made["id"], "paid")
    assert answer.status_code == 200, answer.text
    paid: dict[str, Any] = answer.json()
    return paid


async def refund(api: httpx.AsyncClient, invoice_id: str, **fields: object) -> dict[str, Any]:
    """A refund that must be taken."""
    answer = await api.post(f"/api/v1/invoices/{invoice_id}/refund", json=fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def until_refund(
    api: httpx.AsyncClient, refund_id: str, *, status: str | None = None, attention: str | None = None
) -> dict[str, Any]:
    """The refund once it is in this status, or in this attention."""

    async def look() -> dict[str, Any] | None:
        answer = await api.get(f"/api/v1/refunds/{refund_id}")
        if answer.status_code != 200:
            return None
        found: dict[str, Any] = answer.json()
        return found if status in {None, found["status"]} and attention in {None, found["attention"]} else None

    found = await until(look, f"{refund_id} to be {status or attention}")
    assert found is not None
    return found


async def given_back(shop: Shop, invoice: dict[str, Any], *, by_cashier: bool = False) -> list[int]:
    """Every refund of the payment in the bank's own book, in tiyn; ours, or those of the till."""
    found = await shop.stack.emulator.call("GET", f"purchases/{invoice['kaspi_invoice_id']}")
    return [one["amount_tiyn"] for one in found["refunds"] if (one["source"] == "cashier") is by_cashier]
