"""The price of one paid phone invoice with one delivered webhook, and what strangers can read of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionDescription, WorkflowHistory

from dev.postgres import Database
from dev.temporal import TemporalServer
from domain.invoice import OpenInvoice
from tests.support.emulator import EmulatorServer
from tests.support.receiver import WebhookReceiver
from tests.workflows.real import DESCRIPTION, KEY, PHONE, RealShop, actions_of, open_shop

EVENTS, WORKFLOW_TASKS, ACTIONS = 20, 3, 7
SECRETS = (PHONE, PHONE[1:], DESCRIPTION, KEY)


@dataclass
class Paid:
    """An invoice whose story is over."""

    shop: RealShop
    order: OpenInvoice
    events: Sequence[HistoryEvent]
    events_before_repeat: int
    events_after_repeat: int
    described: WorkflowExecutionDescription
    webhooks: list[dict[str, object]]
    actions: int


@pytest.fixture(scope="module")
async def paid(
    postgres: Database,
    temporal_server: TemporalServer,
    emulator: EmulatorServer,
    servers_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Paid]:
    async with (
        WebhookReceiver() as receiver,
        open_shop(
            postgres,
            temporal_server,
            servers_dir / "temporal.log",
            emulator,
            receiver,
            tmp_path_factory.mktemp("budget"),
        ) as shop,
    ):
        order = shop.order()
        await shop.engine.issue(order, wait=20)
        handle = shop.client.get_workflow_handle(f"invoice-{order.invoice_id}")
        before = len((await handle.fetch_history()).events)
        await shop.engine.issue(order, wait=20)
        after = len((await handle.fetch_history()).events)
        [purchase] = await emulator.admin.purchases(phone=PHONE)
        await emulator.admin.act(purchase["id"], "pay")
        fact = await shop.read(order, int(purchase["id"]))
        assert await shop.engine.bank_said(order.invoice_id, fact)
        assert await handle.result() == "paid"
        received = await receiver.wait_for()
        events = (await handle.fetch_history()).events
        yield Paid(
            shop,
            order,
            events,
            before,
            after,
            await handle.describe(),
            [json.loads(one.body) for one in received],
            await settled_actions(shop, actions_of(events)),
        )


async def settled_actions(shop: RealShop, wanted: int) -> int:
    """The server's counter, when it has caught up with `wanted` and had the time to go past it."""
    async with asyncio.timeout(20):
        while await shop.actions() < wanted:  # noqa: ASYNC110 — another process sends no event
            await asyncio.sleep(0.2)
    await asyncio.sleep(2.5)
    return await shop.actions()


def test_one_webhook_told_the_payment(paid: Paid) -> None:
    assert len(paid.webhooks) == 1


def test_the_history_has_the_agreed_length(paid: Paid) -> None:
    assert len(paid.events) == EVENTS, [EventType.Name(event.event_type) for event in paid.events]


def test_the_worker_is_woken_the_agreed_number_of_times(paid: Paid) -> None:
    woken = [one for one in paid.events if one.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    assert len(woken) == WORKFLOW_TASKS


def test_the_bill_for_actions_is_the_agreed_one(paid: Paid) -> None:
    assert actions_of(paid.events) == ACTIONS
    assert paid.actions == ACTIONS, "the server counts otherwise than the public list"


def test_an_identical_create_adds_nothing_to_the_history(paid: Paid) -> None:
    assert paid.events_after_repeat == paid.events_before_repeat > 0


def readable(history: WorkflowHistory, described: WorkflowExecutionDescription) -> bytes:
    """Every byte that the server has of an invoice, not hidden by base64."""
    events = b"".join(event.SerializeToString() for event in history.events)
    return events + described.raw_description.SerializeToString()


async def test_without_our_key_nobody_reads_who_pays_for_what(paid: Paid) -> None:
    handle = paid.shop.client.get_workflow_handle(f"invoice-{paid.order.invoice_id}")
    history = await handle.fetch_history()
    seen = readable(history, paid.described)
    for secret in SECRETS:
        assert secret.encode() not in seen
    # The control: what this looks for is there, under our key.
    codec = paid.shop.client.data_converter.payload_codec
    assert codec
    opened = await codec.decode(history.events[0].workflow_execution_started_event_attributes.input.payloads)
    for secret in SECRETS:
        assert secret.encode() in opened[0].data


async def test_even_with_our_key_the_operators_view_names_no_payer(paid: Paid) -> None:
    described = paid.described
    shown = " ".join(
        [
            described.id,
            described.task_queue,
            await described.static_summary() or "",
            await described.static_details() or "",
            str(await described.memo()),
            str(list(described.typed_search_attributes)),
        ]
    )
    assert paid.order.merchant_id in shown
    assert "phone invoice, 12500.00 KZT" in shown
    for secret in SECRETS:
        assert secret not in shown
