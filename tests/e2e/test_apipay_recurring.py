"""ApiPay's recurring invoices: subscriptions of v1 in its words."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from domain.billing_calendar import ALMATY
from domain.errors import Code
from tests.e2e.test_apipay import eight, refused
from tests.support.receiver import WebhookReceiver
from tests.support.shop import Shop, fresh_key
from tests.support.waiting import until

pytestmark = pytest.mark.stack


def today() -> date:
    return datetime.now(UTC).astimezone(ALMATY).date()


async def recurring(shop: Shop, **fields: object) -> dict[str, Any]:
    body = {"amount": 5000, "phone_number": eight(), "interval": "monthly", **fields}
    answer = await shop.test.post("/api/recurring-invoices", json=body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def acted(shop: Shop, one: dict[str, Any], action: str) -> dict[str, Any]:
    answer = await shop.test.post(f"/api/recurring-invoices/{one['id']}/{action}")
    assert answer.status_code == 200, answer.text
    after: dict[str, Any] = answer.json()
    return after


async def test_a_later_start_is_a_day_and_the_same_subscription_stands_in_v1(shop: Shop) -> None:
    first, last = today() + timedelta(days=10), today() + timedelta(days=300)
    phone = eight()
    made = await recurring(
        shop, phone_number=phone, description="Подписка", start_date=first.isoformat(), end_date=last.isoformat()
    )
    assert (made["amount"], made["phone_number"], made["interval"]) == ("5000.00", phone, "monthly")
    assert (made["status"], made["start_date"], made["end_date"]) == ("active", first.isoformat(), last.isoformat())
    assert made["next_billing_date"] == first.isoformat()
    ours = (await shop.test.get(f"/api/v1/subscriptions/{made['tolem_id']}")).json()
    assert (ours["number"], ours["phone_number"]) == (made["id"], f"7{phone[1:]}")
    assert (await shop.test.get(f"/api/recurring-invoices/{made['id']}")).json() == made


async def test_one_that_starts_today_is_billed_at_once(shop: Shop) -> None:
    before = today()
    made = await recurring(shop)
    assert made["start_date"] in {before.isoformat(), today().isoformat()}  # it may be midnight in between

    async def billed() -> list[dict[str, Any]]:
        answer = await shop.test.get(f"/api/v1/subscriptions/{made['tolem_id']}/invoices")
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    bills = await until(billed, "the first bill")
    assert bills is not None
    theirs = (await shop.test.get(f"/api/invoices/{bills[0]['number']}")).json()
    assert (theirs["amount"], theirs["status"]) == ("5000.00", "pending")


async def test_it_is_changed_paused_resumed_skipped_billed_and_cancelled(shop: Shop) -> None:
    start = today() + timedelta(days=5)
    made = await recurring(shop, interval="weekly", start_date=start.isoformat())
    changed = await shop.test.put(
        f"/api/recurring-invoices/{made['id']}", json={"amount": 7500, "description": "Премиум"}
    )
    assert (changed.status_code, changed.json()["amount"], changed.json()["description"]) == (200, "7500.00", "Премиум")
    assert (await acted(shop, made, "pause"))["status"] == "paused"
    refused(await shop.test.post(f"/api/recurring-invoices/{made['id']}/bill-now"), 400, Code.SUBSCRIPTION_PAUSED)
    resumed = await acted(shop, made, "resume")
    assert (resumed["status"], resumed["next_billing_date"]) == ("active", start.isoformat())
    skipped = await acted(shop, made, "skip-period")
    assert skipped["next_billing_date"] == (start + timedelta(days=7)).isoformat()
    # One period ahead is the most, skipped or billed.
    refused(await shop.test.post(f"/api/recurring-invoices/{made['id']}/bill-now"), 400, Code.BILLED_AHEAD)
    cancelled = await acted(shop, made, "cancel")
    assert cancelled["status"] == "cancelled"
    assert "next_billing_date" not in cancelled
    for action in ("pause", "cancel", "bill-now", "skip-period"):
        refused(await shop.test.post(f"/api/recurring-invoices/{made['id']}/{action}"), 400, Code.SUBSCRIPTION_CLOSED)


async def test_billing_now_answers_with_the_bill_that_the_bank_has(shop: Shop) -> None:
    made = await recurring(shop, interval="daily", start_date=(today() + timedelta(days=2)).isoformat())
    bill = await acted(shop, made, "bill-now")
    assert (bill["status"], bill["amount"], bill["client_phone"]) == ("pending", "5000.00", made["phone_number"])
    assert bill["payment_url"]
    assert (await shop.test.get(f"/api/invoices/{bill['id']}")).json() == bill
    ours = (await shop.test.get(f"/api/v1/invoices/{bill['tolem_id']}")).json()
    assert ours["subscription_id"] == made["tolem_id"]
    refused(await shop.test.post(f"/api/recurring-invoices/{made['id']}/bill-now"), 400, Code.CHARGE_IN_FLIGHT)
    assert (await acted(shop, made, "cancel"))["status"] == "cancelled"


async def test_a_subscription_with_a_webhook_of_its_own_tells_its_bills_to_that_one_only(shop: Shop) -> None:
    async with WebhookReceiver() as chosen, WebhookReceiver() as others:
        hooks = [
            (await shop.test.post("/api/v1/webhooks", json={"url": receiver.url, "events": ["*"]})).json()
            for receiver in (chosen, others)
        ]
        made = await recurring(
            shop, webhook_id=hooks[0]["number"], start_date=(today() + timedelta(days=2)).isoformat()
        )
        bill = await acted(shop, made, "bill-now")
        assert (await shop.simulate(bill["tolem_id"], "paid")).status_code == 200
        await acted(shop, made, "pause")

        def told(kind: str) -> Any:
            return lambda one: json.loads(one.body)["type"] == kind

        for kind in ("invoice.status_changed", "subscription.payment_succeeded", "subscription.paused"):
            await chosen.wait_for(told(kind))
        # Other tests' bills may still be told here.
        mine = (made["tolem_id"].encode(), bill["tolem_id"].encode())
        assert not [one for one in others.requests if any(id_ in one.body for id_ in mine)]
        for hook in hooks:
            await shop.test.delete(f"/api/v1/webhooks/{hook['id']}")


async def test_lists_and_keys(shop: Shop) -> None:
    headers = {"Idempotency-Key": fresh_key()}
    body = {
        "amount": 100,
        "phone_number": eight(),
        "interval": "yearly",
        "start_date": (today() + timedelta(days=3)).isoformat(),
    }
    answers = [await shop.test.post("/api/recurring-invoices", json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotent-replayed"] == "true"
    made = answers[0].json()
    listed = (await shop.test.get("/api/recurring-invoices?status=active&per_page=100")).json()
    assert made["id"] in [one["id"] for one in listed["data"]]
    paused = (await shop.test.get("/api/recurring-invoices?status=paused&per_page=100")).json()
    assert made["id"] not in [one["id"] for one in paused["data"]]
    # An interval that ApiPay has no word for is not shown.
    quarterly = await shop.test.post(
        "/api/v1/subscriptions",
        json={"amount": 1, "phone_number": "77011234567", "billing_period": "quarterly", "is_sandbox": True},
    )
    number = quarterly.json()["number"]
    refused(await shop.test.get(f"/api/recurring-invoices/{number}"), 404, Code.NOT_FOUND)
    assert number not in [one["id"] for one in (await shop.test.get("/api/recurring-invoices")).json()["data"]]


async def test_what_is_wrong_is_named(shop: Shop) -> None:
    answer = await shop.test.post(
        "/api/recurring-invoices", json={"amount": 0, "phone_number": "1", "interval": "hourly"}
    )
    assert set(refused(answer, 422, Code.INVALID_REQUEST)["errors"]) == {"amount", "phone_number", "interval"}
    right = {"amount": 1, "phone_number": eight(), "interval": "daily"}
    past = right | {"start_date": "2020-01-01", "end_date": "2019-01-01"}
    answer = await shop.test.post("/api/recurring-invoices", json=past)
    assert set(refused(answer, 422, Code.INVALID_REQUEST)["errors"]) == {"start_date", "end_date"}
    answer = await shop.test.post("/api/recurring-invoices", json=right | {"end_date": "9999-12-31"})
    assert set(refused(answer, 422, Code.INVALID_REQUEST)["errors"]) == {"end_date"}
    refused(await shop.test.put(f"/api/recurring-invoices/{2**70}", json={"amount": 5}), 404, Code.NOT_FOUND)


async def test_a_change_that_is_repeated_with_its_key_is_one(shop: Shop) -> None:
    made = await recurring(shop, start_date=(today() + timedelta(days=5)).isoformat())
    path, headers = f"/api/recurring-invoices/{made['id']}", {"Idempotency-Key": fresh_key()}
    body = {"amount": 7500, "interval": "weekly"}
    first = await shop.test.put(path, json=body, headers=headers)
    assert (first.status_code, first.json()["interval"]) == (200, "weekly")
    again = await shop.test.put(path, json=body, headers=headers)
    assert (again.status_code, again.json()) == (200, first.json()), again.text
    refused(await shop.test.put(path, json={"amount": 1}, headers=headers), 422, Code.IDEMPOTENCY_KEY_REUSED)


async def test_billing_now_again_with_the_same_key_answers_with_the_same_bill_also_once_it_is_paid(shop: Shop) -> None:
    made = await recurring(shop, interval="daily", start_date=(today() + timedelta(days=2)).isoformat())
    path, headers = f"/api/recurring-invoices/{made['id']}/bill-now", {"Idempotency-Key": fresh_key()}
    first = await shop.test.post(path, headers=headers)
    assert first.status_code == 200, first.text
    bill = first.json()
    assert (await shop.simulate(bill["tolem_id"], "paid")).status_code == 200

    async def over() -> bool:
        found = (await shop.test.get(f"/api/v1/subscriptions/{made['tolem_id']}")).json()
        return found["open_period"] is None

    await until(over, "the period to be paid")
    again = await shop.test.post(path, headers=headers)
    assert again.status_code == 200, again.text
    assert (again.json()["id"], again.json()["status"]) == (bill["id"], "paid")
    await acted(shop, made, "cancel")
