"""ApiPay's contract in the sandbox: apart from money, and every magic value in its words."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest

from domain.errors import Code
from domain.scenarios import MAGIC_VALUES
from tests.e2e.conftest import Listening
from tests.e2e.test_apipay import bill, refused
from tests.e2e.test_apipay_recurring import recurring, today
from tests.e2e.test_scenarios import FIRST_DEED
from tests.support.receiver import Received, WebhookReceiver
from tests.support.shop import Shop, fresh_key
from tests.support.waiting import until

pytestmark = pytest.mark.stack

# What a bill comes to by itself. The other four ask for something: tests of their own.
ENDS = {
    "0001": "paid",
    "0002": "pending",
    "0003": "cancelled",
    "0004": "expired",
    "0006": "paid",
    "0007": "paid",
    "0008": "paid",
    "0010": "paid",
    "0013": "cancelled",
}
# The answer was lost, so nobody knows of a bill to pay yet.
LOST = {"0006", "0013"}


@dataclass
class Played:
    """The answers to thirteen creations, and what one endpoint in ApiPay's dialect was told of them."""

    shop: Shop
    receiver: WebhookReceiver
    order: str
    created: dict[str, httpx.Response]
    at_once: set[str]

    def made(self, digits: str) -> dict[str, Any]:
        answer = self.created[digits]
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def until(self, digits: str, word: str) -> dict[str, Any]:
        """The bill once its status is that word."""

        async def look() -> dict[str, Any] | None:
            found: dict[str, Any] = (await self.shop.test.get(f"/api/invoices/{self.made(digits)['id']}")).json()
            return found if found["status"] == word else None

        found = await until(look, f"the bill of {digits} to be {word}")
        assert found is not None
        return found

    async def refund(self, digits: str, body: Mapping[str, object]) -> dict[str, Any]:
        answer = await self.shop.test.post(f"/api/invoices/{self.made(digits)['id']}/refund", json=body)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def told(self, digits: str, event: str, word: str) -> dict[str, Any]:
        """A webhook that says so of the bill."""

        def matches(one: Received) -> bool:
            body = json.loads(one.body)
            invoice = body.get("invoice", {})
            return (body["event"], invoice.get("id"), invoice.get("status")) == (event, self.made(digits)["id"], word)

        found = (await self.receiver.wait_for(matches))[0]
        told: dict[str, Any] = json.loads(found.body)["invoice"]
        return told

    def statuses(self, digits: str) -> list[str]:
        """Of every `invoice.status_changed` so far."""
        bodies = [json.loads(one.body) for one in self.receiver.requests]
        number = self.made(digits)["id"]
        changed = [body["invoice"] for body in bodies if body["event"] == "invoice.status_changed"]
        return [one["status"] for one in changed if one["id"] == number]


@pytest.fixture(scope="module")
async def played(listening: Listening) -> AsyncIterator[Played]:
    """All at once: most of their time passes in waiting."""
    api = listening.shop.test
    async with WebhookReceiver() as receiver:
        hook = (
            await api.post("/api/v1/webhooks", json={"url": receiver.url, "events": ["*"], "dialect": "apipay"})
        ).json()
        order = fresh_key()
        bodies = {
            one.digits: {
                "amount": 1500,
                "phone_number": f"8701000{one.digits}",
                "external_order_id": f"{order}-{one.digits}",
                "webhook_id": hook["number"],
            }
            for one in MAGIC_VALUES
        }
        answers = await asyncio.gather(*(api.post("/api/invoices", json=body) for body in bodies.values()))
        created = dict(zip(bodies, answers, strict=True))
        at_once = {digits for digits, answer in created.items() if answer.elapsed < FIRST_DEED}
        yield Played(listening.shop, receiver, order, created, at_once)
        await api.delete(f"/api/v1/webhooks/{hook['id']}")


def test_every_magic_value_is_looked_at_here() -> None:
    assert set(ENDS) | {"0005", "0009", "0011", "0012"} == {one.digits for one in MAGIC_VALUES}


@pytest.mark.parametrize("digits", ENDS)
async def test_a_magic_value_comes_to_its_end_in_their_words(shop: Shop, played: Played, digits: str) -> None:
    made = played.made(digits)
    assert (made["is_sandbox"], made["client_phone"]) == (True, f"8701000{digits}")
    if digits in played.at_once:  # else it may have gone on by the time of the answer
        assert made["status"] == "pending"
        assert ("payment_url" in made, "kaspi_invoice_id" in made) == ((digits not in LOST,) * 2)
    ended = await played.until(digits, ENDS[digits])
    if ENDS[digits] == "pending":
        assert played.statuses(digits) == []
        return
    told = await played.told(digits, "invoice.status_changed", ENDS[digits])
    moment = {"paid": "paid_at", "cancelled": "cancelled_at", "expired": "expired_at"}[ENDS[digits]]
    assert told[moment] == ended[moment] >= made["created_at"]
    assert played.statuses(digits) == [ENDS[digits]]


async def test_0005_an_unknown_client_is_refused_and_the_bill_is_cancelled(shop: Shop, played: Played) -> None:
    body = refused(played.created["0005"], 422, Code.KASPI_REFUSED)
    assert set(body["errors"]) == {"kaspi"}
    (listed,) = (await shop.test.get(f"/api/invoices?status[]=cancelled&search={played.order}-0005")).json()["data"]
    assert (listed["client_phone"], "payment_url" in listed) == ("87010000005", False)


async def test_0009_the_payment_wins_against_the_cancel(shop: Shop, played: Played) -> None:
    answer = await shop.test.post(f"/api/invoices/{played.made('0009')['id']}/cancel")
    refused(answer, 400, Code.INVOICE_ALREADY_PAID)
    assert (await played.until("0009", "paid"))["paid_at"]
    await played.told("0009", "invoice.status_changed", "paid")
    assert played.statuses("0009") == ["paid"]


async def test_0011_the_refund_is_refused_and_nothing_went_back(shop: Shop, played: Played) -> None:
    await played.until("0011", "paid")
    for asked in ({}, {"amount": 1}):
        assert (await played.refund("0011", asked))["status"] == "failed"
    standing = await played.until("0011", "paid")
    assert standing["total_refunded"] == "0.00"


async def test_0012_half_of_it_can_be_refunded_in_parts_and_no_more(shop: Shop, played: Played) -> None:
    await played.until("0012", "paid")
    assert (await played.refund("0012", {}))["status"] == "failed"
    parts = [await played.refund("0012", {"amount": amount}) for amount in (500, 250)]
    assert [one["status"] for one in parts] == ["completed", "completed"]
    told = await played.told("0012", "invoice.refunded", "partially_refunded")
    assert told["total_refunded"] in {"500.00", "750.00"}
    assert (await played.until("0012", "paid"))["total_refunded"] == "750.00"
    # The bank gives each of them an id of its own.
    ours = [(await shop.test.get(f"/api/v1/refunds/{one['tolem_id']}")).json() for one in parts]
    assert len({one["kaspi_refund_id"] for one in ours}) == 2


async def test_a_key_sees_the_bills_of_its_own_mode_only(shop: Shop) -> None:
    order = fresh_key()
    play, real = [await bill(api, external_order_id=order) for api in (shop.test, shop.live)]
    for api, mine, other in ((shop.test, play, real), (shop.live, real, play)):
        listed = (await api.get(f"/api/invoices?search={order}")).json()
        assert [one["id"] for one in listed["data"]] == [mine["id"]]
        assert listed["meta"]["total"] == 1
        assert (await api.get(f"/api/invoices/{mine['id']}")).json() == mine
        for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/refund"), ("GET", "/refunds")):
            refused(await api.request(method, f"/api/invoices/{other['id']}{path}"), 404, Code.NOT_FOUND)


async def test_a_live_key_sees_no_refund_and_no_subscription_of_the_sandbox(shop: Shop) -> None:
    play = await bill(shop.test)
    assert (await shop.simulate(play["tolem_id"], "paid")).status_code == 200
    refund = (await shop.test.post(f"/api/invoices/{play['id']}/refund")).json()
    one = await recurring(shop, start_date=(today() + timedelta(days=5)).isoformat())
    for path, found in (("/api/refunds", refund), ("/api/recurring-invoices", one)):
        mine = (await shop.test.get(f"{path}?per_page=100")).json()["data"]
        assert found in mine
        refused(await shop.live.get(f"{path}/{found['id']}"), 404, Code.NOT_FOUND)
        others = (await shop.live.get(f"{path}?per_page=100")).json()["data"]
        assert found["tolem_id"] not in [other["tolem_id"] for other in others]
    refused(await shop.live.post(f"/api/recurring-invoices/{one['id']}/cancel"), 404, Code.NOT_FOUND)
