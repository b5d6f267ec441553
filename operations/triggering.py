"""What `tolem trigger` does: sandbox events made to happen through the public API, as a merchant and a payer would."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from domain.event import EventType
from operations import triggering_subscriptions
from operations.api_client import ApiClient, part
from operations.trigger_report import CannotTrigger, Happened, Report

AMOUNT = 1500
PHONE = "77010000001"  # in the sandbox no phone rings
EVENT_SECONDS = 20.0
LOOK_SECONDS = 0.3

# What can't be made to happen by asking for it, and what one does instead.
NOT_TRIGGERED: dict[EventType, str] = {
    EventType.KASPI_SESSION_CHANGED: "It tells of the link to the bank, and a sandbox has none. With `make up`, stop"
    " the emulator's answers (emulator/README.md) and wait for the poller.",
    EventType.INVOICE_ATTENTION_REQUIRED: "It tells that bank and books disagree, and a sandbox has no bank."
    " refund.attention_required can be triggered.",
    EventType.WEBHOOK_ENDPOINT_FAILING: "It comes from an endpoint that has failed for days.",
    EventType.WEBHOOK_ENDPOINT_DISABLED: "It comes from an endpoint that has failed for days, or that answers 410:"
    " answer 410 once to a webhook.test.",
}


def _refund(simulate: str) -> Callable[[ApiClient, Report, str | None], Awaitable[str]]:
    async def act(client: ApiClient, report: Report, _endpoint: str | None) -> str:
        invoice_id = await _paid(client, report, None)
        body = {"simulate": simulate, "reason": "tolem trigger"}
        refund = await client.post(f"/api/v1/invoices/{part(invoice_id)}/refund", body)
        report(Happened("refund", refund["id"]))
        return str(refund["id"])

    return act


async def _refunded_invoice(client: ApiClient, report: Report, _endpoint: str | None) -> str:
    invoice_id = await _paid(client, report, None)
    refund = await client.post(f"/api/v1/invoices/{part(invoice_id)}/refund", {"reason": "tolem trigger"})
    report(Happened("refund", refund["id"]))
    return invoice_id


async def _paid(client: ApiClient, report: Report, _endpoint: str | None) -> str:
    order = {"amount": AMOUNT, "phone_number": PHONE, "description": "tolem trigger", "is_sandbox": True}
    invoice = await client.post("/api/v1/invoices", order)
    report(Happened("invoice", invoice["id"]))
    await client.post(f"/api/v1/sandbox/invoices/{part(invoice['id'])}/simulate", {"status": "paid"})
    return str(invoice["id"])


_ACTS: dict[EventType, Callable[[ApiClient, Report, str | None], Awaitable[str]]] = {
    EventType.INVOICE_STATUS_CHANGED: _paid,
    EventType.INVOICE_REFUNDED: _refunded_invoice,
    EventType.REFUND_COMPLETED: _refund("completed"),
    EventType.REFUND_FAILED: _refund("failed"),
    EventType.REFUND_ATTENTION_REQUIRED: _refund("attention"),
    **triggering_subscriptions.ACTS,
}

# How each event is made to happen, for people.
TRIGGERED: dict[EventType, str] = {
    EventType.INVOICE_STATUS_CHANGED: "creates a sandbox invoice and pays it",
    EventType.INVOICE_REFUNDED: "creates a sandbox invoice, pays and refunds it",
    EventType.REFUND_COMPLETED: "the same",
    EventType.REFUND_FAILED: "creates a sandbox invoice, pays it, and the bank refuses the refund",
    EventType.REFUND_ATTENTION_REQUIRED: "the same, and the bank's answer is lost",
    **triggering_subscriptions.TRIGGERED,
    EventType.WEBHOOK_TEST: "asks for a test of --endpoint, or of every enabled sandbox endpoint",
}


async def trigger(client: ApiClient, event: EventType, report: Report, endpoint_id: str | None = None) -> None:
    """Makes it happen and tells each id as soon as it is known, the event's last.

    `endpoint_id` is for `webhook.test` only. Raises `CannotTrigger`, and what the client raises.
    """
    if event in NOT_TRIGGERED:
        raise CannotTrigger(f"{event} cannot be triggered. {NOT_TRIGGERED[event]}")
    if event is EventType.WEBHOOK_TEST:
        await _test_endpoints(client, report, endpoint_id)
        return
    object_id = await _ACTS[event](client, report, endpoint_id)
    report(Happened("event", await _event_about(client, event, object_id)))


async def _test_endpoints(client: ApiClient, report: Report, endpoint_id: str | None) -> None:
    chosen = [endpoint_id] if endpoint_id else await _sandbox_endpoints(client)
    for one in chosen:
        before = await _latest(client, EventType.WEBHOOK_TEST, one)
        await client.post(f"/api/v1/webhooks/{part(one)}/test")
        report(Happened("endpoint", one))
        report(Happened("event", await _event_about(client, EventType.WEBHOOK_TEST, one, before)))


async def _sandbox_endpoints(client: ApiClient) -> list[str]:
    listed = (await client.get("/api/v1/webhooks"))["items"]
    found = [str(one["id"]) for one in listed if one["is_sandbox"] and one["enabled"]]
    if not found:
        raise CannotTrigger("There is no enabled sandbox endpoint to test; register one with POST /api/v1/webhooks.")
    return found


async def _event_about(client: ApiClient, event: EventType, object_id: str, before: str | None = None) -> str:
    try:
        async with asyncio.timeout(EVENT_SECONDS):
            while True:
                found = await _latest(client, event, object_id)
                if found is not None and found != before:
                    return found
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise CannotTrigger(
            f"The event did not come within {EVENT_SECONDS:.0f} s; does a worker run? It will come when one does."
        ) from None


async def _latest(client: ApiClient, event: EventType, object_id: str) -> str | None:
    params: dict[str, Any] = {"type": event.value, "object_id": object_id, "page_size": 1}
    items = (await client.get("/api/v1/events", params))["items"]
    return str(items[0]["id"]) if items else None
