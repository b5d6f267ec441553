"""The part of `tolem trigger` that is about subscriptions. None of them lives longer than a day or two."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.event import EventType
from operations.api_client import ApiClient, part
from operations.trigger_report import CannotTrigger, Happened, Report

AMOUNT = 1500
PHONE = "77010000001"  # in the sandbox no phone rings
BILL_SECONDS = 20.0
LOOK_SECONDS = 0.3

Act = Callable[[ApiClient, Report, str | None], Awaitable[str]]

# One period and no patience: whatever becomes of its bill, that is the end.
_ONCE: dict[str, Any] = {"total_cycles": 1, "max_retry_attempts": 0, "grace_period_days": 0}


async def _begin(client: ApiClient, report: Report, **fields: Any) -> str:
    order = {"amount": AMOUNT, "phone_number": PHONE, "description": "tolem trigger", "is_sandbox": True}
    made = await client.post("/api/v1/subscriptions", order | _ONCE | fields)
    report(Happened("subscription", made["id"]))
    return str(made["id"])


def _ended(status: str, **fields: Any) -> Act:
    """Begins one, and its payer does this with the first bill."""

    async def act(client: ApiClient, report: Report, _endpoint: str | None) -> str:
        subscription_id = await _begin(client, report, **fields)
        invoice_id = await _bill_of(client, subscription_id)
        report(Happened("invoice", invoice_id))
        await client.post(f"/api/v1/sandbox/invoices/{part(invoice_id)}/simulate", {"status": status})
        return subscription_id

    return act


def _acted(*actions: str) -> Act:
    """Begins one that bills nothing before tomorrow, and does this with it."""

    async def act(client: ApiClient, report: Report, _endpoint: str | None) -> str:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        subscription_id = await _begin(client, report, started_at=tomorrow.isoformat())
        for action in actions:
            await client.post(f"/api/v1/subscriptions/{part(subscription_id)}/{action}")
        return subscription_id

    return act


async def _bill_of(client: ApiClient, subscription_id: str) -> str:
    """The first bill, once the bank's simulator has it."""
    try:
        async with asyncio.timeout(BILL_SECONDS):
            while True:
                found = await client.get(f"/api/v1/subscriptions/{part(subscription_id)}/invoices")
                if found["items"] and found["items"][0]["state"] == "pending":
                    return str(found["items"][0]["id"])
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise CannotTrigger(f"The bill was not made within {BILL_SECONDS:.0f} s; does a worker run?") from None


ACTS: dict[EventType, Act] = {
    EventType.SUBSCRIPTION_PAYMENT_SUCCEEDED: _ended("paid"),
    EventType.SUBSCRIPTION_PAYMENT_FAILED: _ended("canceled"),
    EventType.SUBSCRIPTION_GRACE_PERIOD_STARTED: _ended("canceled", grace_period_days=1),
    EventType.SUBSCRIPTION_EXPIRED: _ended("canceled"),
    EventType.SUBSCRIPTION_PAUSED: _acted("pause"),
    EventType.SUBSCRIPTION_RESUMED: _acted("pause", "resume"),
    EventType.SUBSCRIPTION_CANCELED: _acted("cancel"),
    EventType.SUBSCRIPTION_COMPLETED: _ended("paid"),
    EventType.SUBSCRIPTION_PERIOD_SKIPPED: _acted("skip-period"),
}

# How each event is made to happen, for people.
TRIGGERED: dict[EventType, str] = {
    EventType.SUBSCRIPTION_PAYMENT_SUCCEEDED: "creates a sandbox subscription of one period and pays its bill",
    EventType.SUBSCRIPTION_PAYMENT_FAILED: "the same, and the payer declines the bill",
    EventType.SUBSCRIPTION_GRACE_PERIOD_STARTED: "the same, with a day of grace",
    EventType.SUBSCRIPTION_EXPIRED: "the same, without grace",
    EventType.SUBSCRIPTION_PAUSED: "creates a sandbox subscription that starts tomorrow and pauses it",
    EventType.SUBSCRIPTION_RESUMED: "the same, and resumes it",
    EventType.SUBSCRIPTION_CANCELED: "creates a sandbox subscription that starts tomorrow and cancels it",
    EventType.SUBSCRIPTION_COMPLETED: "creates a sandbox subscription of one period and pays its bill",
    EventType.SUBSCRIPTION_PERIOD_SKIPPED: "creates a sandbox subscription that starts tomorrow and skips its period",
}
