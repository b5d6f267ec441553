"""What has lost its workflow is found and goes on, by reading first: no second bill, no lost money, each event once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from domain.errors import Code
from runtime import settings as conf
from runtime.task_queues import TaskQueues
from runtime.temporal import connect
from tests.support.api_errors import assert_error
from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.receiver import Answer, WebhookReceiver
from tests.support.shop import Shop, fresh_key, fresh_phone
from tests.support.stack import Stack
from tests.support.waiting import until
from workflows.client import Engine
from workflows.invoice_messages import Resolution, Resolve

pytestmark = [pytest.mark.stack, pytest.mark.long]


@pytest.fixture
async def temporal(stack: Stack) -> Client:
    settings = conf.load(conf.Temporal, conf.Keys, environ=stack.system.operator_environment())
    return await connect(settings[conf.Temporal], settings[conf.Keys].payload)


@pytest.fixture
def engine(temporal: Client) -> Engine:
    return Engine(temporal, TaskQueues())


async def until_runs(client: Client, workflow_id: str, *, after: str | None = None) -> str:
    """The run id, once the workflow runs in another run than `after`."""

    async def look() -> str | None:
        try:
            found = await client.get_workflow_handle(workflow_id).describe()
        except RPCError:
            return None
        fresh = found.run_id != after and found.status is WorkflowExecutionStatus.RUNNING
        return found.run_id if fresh else None

    run_id = await until(look, f"{workflow_id} to run")
    assert run_id is not None
    return run_id


async def end_by_hand(client: Client, workflow_id: str) -> str:
    """As somebody who should not: the run that is no more."""
    run_id = await until_runs(client, workflow_id)
    await client.get_workflow_handle(workflow_id).terminate("by hand")
    return run_id


async def told_once(inbox: Inbox, shop: Shop, invoice_id: str, state: str) -> None:
    await inbox.wait(invoice_id, state=state)
    await shop.settled(invoice_id)
    told = [one for one in inbox.about(invoice_id) if one.object["state"] == state]
    assert len({one.id for one in told}) == 1


async def test_a_bill_whose_workflow_was_terminated_goes_on(shop: Shop, inbox: Inbox, temporal: Client) -> None:
    phone = fresh_phone()
    bills = [await shop.bill(phone_number=phone), await shop.qr()]
    for bill in bills:
        ended = await end_by_hand(temporal, f"invoice-{bill['id']}")
        await until_runs(temporal, f"invoice-{bill['id']}", after=ended)
        assert (await shop.read(bill["id"]))["state"] == "pending"
        await shop.pay(bill)
        await shop.until_state(bill["id"], "paid")
        await told_once(inbox, shop, bill["id"], "paid")
    assert len(await shop.purchases(phone=phone)) == 1
    assert len(await shop.purchases(external_id=bills[1]["id"])) == 1


async def test_a_bill_that_has_just_lost_its_workflow_is_not_called_closed(shop: Shop, temporal: Client) -> None:
    bill = await shop.bill()
    ended = await end_by_hand(temporal, f"invoice-{bill['id']}")
    answer = await shop.live.post(f"/api/v1/invoices/{bill['id']}/cancel")
    if answer.status_code != 200:  # the watchdog was quicker
        assert_error(answer, Code.ENGINE_SLOW)
    await until_runs(temporal, f"invoice-{bill['id']}", after=ended)
    answer = await shop.live.post(f"/api/v1/invoices/{bill['id']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled"), answer.text


async def test_a_case_without_a_workflow_gets_one_and_can_be_settled(
    shop: Shop, temporal: Client, engine: Engine
) -> None:
    bill = await shop.bill()
    assert (await shop.live.post(f"/api/v1/invoices/{bill['id']}/cancel")).status_code == 200
    await shop.stack.emulator.act(bill["kaspi_invoice_id"], "pay", late=True)
    await shop.until_state(bill["id"], "paid")
    ended = await end_by_hand(temporal, f"invoice-{bill['id']}")
    await until_runs(temporal, f"invoice-{bill['id']}", after=ended)

    async def visible() -> bool:
        shown = await engine.look_at_invoice(bill["id"], wait=30)
        return (shown.word, shown.available) == ("Processed", 150_000)

    await until(visible, "the bank's word")
    await engine.resolve(bill["id"], Resolve(action=Resolution.ACKNOWLEDGE, by="aigul"), wait=30)
    standing = await shop.read(bill["id"])
    assert (standing["state"], standing["attention"]) == ("paid", None)


async def test_a_poller_that_was_terminated_comes_back(shop: Shop, inbox: Inbox, temporal: Client) -> None:
    bill = await shop.qr()
    ended = await end_by_hand(temporal, f"kaspi-session-{shop.connection_id}")
    await shop.pay(bill)
    await told_once(inbox, shop, bill["id"], "paid")
    await until_runs(temporal, f"kaspi-session-{shop.connection_id}", after=ended)


async def test_a_webhook_whose_workflow_was_terminated_is_delivered(shop: Shop, temporal: Client) -> None:
    async with WebhookReceiver() as receiver:
        # So far apart that its workflow is not over before it is ended by hand.
        receiver.default = Answer(status=503, headers={"Retry-After": "10"})
        inbox = await Inbox.register(shop.test, receiver)
        invoice = await shop.sandbox_bill()
        assert (await shop.simulate(invoice["id"], "paid")).status_code == 200
        deliveries = [one.delivery_id for one in (await shop.inspect(invoice["id"])).told]

        async def failing() -> str | None:
            told = (await shop.inspect(invoice["id"])).told
            mine = (one for one in told if one.endpoint_id == inbox.endpoint_id)
            return next((one.delivery_id for one in mine if one.attempts), None)

        delivery_id = await until(failing, "a failed attempt")
        assert delivery_id in deliveries
        await end_by_hand(temporal, f"delivery-{delivery_id}")
        receiver.default = Answer()
        found = await shop.settled(invoice["id"])
        assert {one.state for one in found.told if one.endpoint_id == inbox.endpoint_id} == {"delivered"}
        # The shop is other tests' too, and they count who is told.
        assert (await shop.test.delete(f"/api/v1/webhooks/{inbox.endpoint_id}")).status_code == 204


@pytest.fixture
async def mended(stack: Stack) -> AsyncIterator[Stack]:
    """Whatever a test of the loss of Temporal leaves, the next test finds a worker that polls."""
    yield stack
    await stack.heal()


async def test_after_the_loss_of_temporals_database_every_bill_comes_to_its_true_end(
    mended: Stack, shop: Shop, inbox: Inbox, bank: EmulatorAdmin, temporal: Client
) -> None:
    phones = [fresh_phone() for _ in range(4)]
    await bank.change({"time_scale": 10})  # no code may lapse before its turn comes
    paid, canceled, pays_meanwhile = [await shop.bill(phone_number=phone) for phone in phones[:3]]
    code, code_paid_meanwhile = await shop.qr(), await shop.qr()
    # One whose answer is on its way when Temporal goes.
    key, body = fresh_key(), {"amount": 68, "phone_number": phones[3]}
    await bank.fault("remote/create", "delay", delay_ms=3000)
    asked = asyncio.create_task(shop.live.post("/api/v1/invoices", json=body, headers={"Idempotency-Key": key}))

    await bank.until_hit()
    await shop.pay(pays_meanwhile)
    await shop.pay(code_paid_meanwhile)
    await mended.lose_temporal()
    await asked

    for bill in (pays_meanwhile, code_paid_meanwhile):
        await told_once(inbox, shop, bill["id"], "paid")
    for bill in (paid, canceled, code):
        await until_runs(temporal, f"invoice-{bill['id']}")
    for bill in (paid, code):
        await shop.pay(bill)
        await told_once(inbox, shop, bill["id"], "paid")
    answer = await shop.live.post(f"/api/v1/invoices/{canceled['id']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled"), answer.text
    await told_once(inbox, shop, canceled["id"], "canceled")

    made = await shop.repeat_until_made(body, key)
    (purchase,) = await until(lambda: shop.purchases(phone=phones[3]), "the bank to do it")

    async def known() -> bool:
        standing = await shop.read(made.json()["id"])
        return bool(standing["kaspi_invoice_id"] == str(purchase["id"]))

    await until(known, "the answer on its way to be booked")
    await until_runs(temporal, f"invoice-{made.json()['id']}")
    await bank.act(purchase["id"], "pay")
    await told_once(inbox, shop, made.json()["id"], "paid")
    for phone in phones:
        assert len(await shop.purchases(phone=phone)) == 1
    for bill in (code, code_paid_meanwhile):
        assert len(await shop.purchases(external_id=bill["id"])) == 1
