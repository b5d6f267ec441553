"""Reconciliations of the whole system: what they find, book and tell, and who may see it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, ScheduleActionExecutionStartWorkflow

from domain.errors import Code
from domain.reconciliation import Detail, LineVerdict
from domain.reconciliation_run import Action
from runtime import settings as conf
from runtime.task_queues import TaskQueues
from runtime.temporal import connect
from tests.conftest import STACK_SETTINGS
from tests.support.api_errors import assert_error
from tests.support.discrepancies import HEADER, statement_of
from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.receiver import WebhookReceiver
from tests.support.reconciling import over, planting, reconcile, rig, start
from tests.support.shop import Shop, close_shop, fresh_key, open_shop
from tests.support.stack import Stack
from tests.support.waiting import PATIENCE, until
from workflows.client import Engine
from workflows.invoice_messages import Resolution, Resolve
from workflows.schedules import RECONCILIATION

pytestmark = pytest.mark.stack


@pytest.fixture
async def store(stack: Stack) -> AsyncIterator[Shop]:
    """A merchant of this test alone, so that its reconciliation sees no other test's payments."""
    made = await open_shop(stack, "Reconciled shop")
    yield made
    await close_shop(made)


async def test_late_money_is_found_booked_and_told_once(
    store: Shop, receiver: WebhookReceiver, bank: EmulatorAdmin
) -> None:
    inbox = await Inbox.register(store.live, receiver)
    bill = await store.bill(amount=777)
    assert (await store.live.post(f"/api/v1/invoices/{bill['id']}/cancel")).status_code == 200
    async with planting(store) as planter:
        await planter.hide()
    await bank.act(bill["kaspi_invoice_id"], "pay", late=True)
    ended, lines = await reconcile(store)
    assert ended["status"] == "completed"
    (line,) = [line for line in lines if line.invoice_id == bill["id"]]
    assert (line.verdict, line.detail, line.action) == (
        LineVerdict.PAID_AFTER_CLOSE,
        Detail.LATE_MONEY,
        Action.BOOKED,
    )
    invoice = await store.read(bill["id"])
    assert (invoice["state"], invoice["attention"]) == ("paid", "paid_after_close")
    assert len(await inbox.wait(bill["id"], state="paid")) == 1
    _, again = await reconcile(store)
    assert bill["id"] not in {line.invoice_id for line in again}, "both sides agree now"


async def client_of(shop: Shop) -> Client:
    settings = conf.load(conf.Keys, conf.Temporal, environ=shop.stack.system.operator_environment())
    return await connect(settings[conf.Temporal], settings[conf.Keys].payload)


async def test_a_cashiers_refund_is_told_and_an_operator_can_settle_it(
    shop: Shop, inbox: Inbox, bank: EmulatorAdmin
) -> None:
    bill = await shop.bill(amount=1000)
    await shop.pay(bill)
    await shop.until_state(bill["id"], "paid")
    await shop.settled(bill["id"])  # its story is over
    await bank.call("POST", f"purchases/{bill['kaspi_invoice_id']}/refund", {"amount": "250.00"})
    _, lines = await reconcile(shop)
    (line,) = [line for line in lines if line.invoice_id == bill["id"]]
    assert (line.verdict, line.action, line.bank_refunded) == (
        LineVerdict.REFUNDED_OUTSIDE,
        Action.ATTENTION,
        25_000,
    )
    invoice = await shop.read(bill["id"])
    assert (invoice["attention"], invoice["available_for_refund"]) == ("kaspi_refunded_outside", "750.00")

    def attentions() -> list[Any]:
        return [one for one in inbox.about(bill["id"]) if one.body["type"] == "invoice.attention_required"]

    async def told() -> bool:
        return len(attentions()) == 1

    await until(told, "the attention's webhook")
    ask = Resolve(action=Resolution.ACKNOWLEDGE, by="Айгүл", note="seen in the app")
    await Engine(await client_of(shop), TaskQueues()).resolve(bill["id"], ask, wait=20)
    assert (await shop.read(bill["id"]))["attention"] is None
    await reconcile(shop)
    assert (await shop.read(bill["id"]))["attention"] is None, "the same fact is not asked twice"
    assert len(attentions()) == 1


async def test_a_mixed_batch(store: Shop) -> None:
    figures = await rig(store, clean=100, discrepancies=18)
    assert figures.faults == []
    assert figures.totals["actions"]["booked"] == 3


@pytest.mark.long
async def test_a_worker_killed_in_the_middle_changes_nothing(store: Shop, stack: Stack) -> None:
    async with planting(store) as planter:
        planted = await planter.plant(250, 16)
    run = await start(store)

    async def under_way() -> bool:
        answer = await store.live.get(f"/api/v1/reconciliations/{run['id']}")
        return bool(answer.json()["totals"]["bank"]["matched"]["count"])

    await until(under_way, "the first batch")
    await stack.restart("worker")
    ended = await over(store, run["id"])
    wrong = [one for one in planted if one.verdict is not None]
    assert ended["status"] == "completed"
    assert ended["totals"]["bank"]["matched"]["count"] == 250
    assert sum(ended["totals"]["actions"].values()) == len(wrong)


@pytest.mark.long
async def test_a_bank_that_is_away_fails_the_run(store: Shop, bank: EmulatorAdmin) -> None:
    await store.bill()
    await bank.fault("payment/status", "error_5xx_before", times=None)
    run = await start(store)
    again = await store.live.post("/api/v1/reconciliations")
    body = assert_error(again, Code.RECONCILIATION_RUNNING)
    assert body["details"] == {"reconciliation_id": run["id"]}
    ended = await over(store, run["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "kaspi_unavailable")
    await bank.clear_faults()
    ended, _ = await reconcile(store)
    assert ended["status"] == "completed"


async def test_a_statement_over_the_api(store: Shop, bank: EmulatorAdmin) -> None:
    async with planting(store) as planter:
        planted = await planter.plant(24, 0)
    payments = [one.payment_id for one in planted]
    rows = [HEADER, *(await statement_of(bank, payments))]
    moment = rows[1].split(",")[0]
    rows.append(f"{moment},payment,700700700,45.50,from another system")
    ended, _ = await reconcile(store, statement="\n".join(rows))
    paid = sum(one.kind.startswith("paid") for one in planted)
    assert ended["statement_rows"] == paid + 1
    assert ended["totals"]["statement"]["matched"]["count"] == paid
    lines = await store.live.get(f"/api/v1/reconciliations/{ended['id']}/lines", params={"verdict": "missing_here"})
    (line,) = lines.json()["items"]
    assert (line["kaspi_invoice_id"], line["bank_amount"], line["invoice_id"]) == ("700700700", "45.50", None)
    nothing = await store.live.get(f"/api/v1/reconciliations/{ended['id']}/lines", params={"verdict": "matched"})
    assert nothing.json()["items"] == []


async def test_wrong_lines_are_all_named_and_nothing_is_imported(store: Shop) -> None:
    statement = "\n".join(
        [
            HEADER,
            "2026-11-22 10:00,payment,1,10.00,",
            "yesterday,payment,2,10.00,",
            "2026-11-22 10:00,gift,3,10.00,",
            "2026-11-22 10:00,payment,4,-1,",
            "2026-11-22 10:00,payment,1,10.00,",
        ]
    )
    body = assert_error(
        await store.live.post("/api/v1/reconciliations", json={"statement": statement}), Code.INVALID_REQUEST
    )
    assert [one["field"] for one in body["errors"]] == ["statement.3", "statement.4", "statement.5", "statement.6"]
    assert (await store.live.get("/api/v1/reconciliations")).json()["items"] == []


async def test_a_large_statement_is_taken_and_a_too_large_one_refused(store: Shop) -> None:
    rows = [f"2026-11-22 10:00,payment,{900_000_000 + number},10.00," for number in range(5_000)]
    ended, _ = await reconcile(store, statement="\n".join([HEADER, *rows]))
    assert ended["totals"]["statement"]["missing_here"] == {"count": 5_000, "amount": "50000.00"}
    huge = await store.live.post("/api/v1/reconciliations", json={"statement": "x" * (9 * 1024 * 1024)})
    assert_error(huge, Code.PAYLOAD_TOO_LARGE)


async def test_a_key_makes_one_reconciliation(store: Shop) -> None:
    key = {"Idempotency-Key": fresh_key()}
    first = await store.live.post("/api/v1/reconciliations", json={}, headers=key)
    await over(store, first.json()["id"])
    again = await store.live.post("/api/v1/reconciliations", json={}, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await store.live.post("/api/v1/reconciliations", json={"date_from": "2026-01-01"}, headers=key)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)
    assert len((await store.live.get("/api/v1/reconciliations")).json()["items"]) == 1


async def test_who_may_see_and_start_what(store: Shop, shop: Shop, stack: Stack) -> None:
    run = await start(store)
    assert_error(await store.test.post("/api/v1/reconciliations"), Code.FORBIDDEN_MODE)
    assert (await store.test.get("/api/v1/reconciliations")).json()["items"] == []
    for client in (store.test, shop.live):
        for path in (run["id"], f"{run['id']}/lines"):
            assert_error(await client.get(f"/api/v1/reconciliations/{path}"), Code.NOT_FOUND)
    unconnected = await open_shop(stack, "No bank", scheme=None)
    assert_error(await unconnected.live.post("/api/v1/reconciliations"), Code.KASPI_NOT_CONNECTED)
    await close_shop(unconnected)
    await over(store, run["id"])
    backwards = {"date_from": "2026-11-22", "date_to": "2026-11-20"}
    assert_error(await store.live.post("/api/v1/reconciliations", json=backwards), Code.INVALID_REQUEST)
    assert_error(
        await store.live.post("/api/v1/reconciliations", json={"date_from": "22.11.2026"}), Code.INVALID_REQUEST
    )


async def test_the_night_compares_every_connection(store: Shop, stack: Stack) -> None:
    async with planting(store) as planter:
        (late,) = await planter.plant(0, 1)
    client = await client_of(store)
    schedule = client.get_schedule_handle(RECONCILIATION)
    spec = (await schedule.describe()).schedule.spec
    assert spec.time_zone_name == "Asia/Almaty"
    times = [f"{one.hour[0].start:02}:{one.minute[0].start:02}" for one in spec.calendars]
    assert times == [STACK_SETTINGS["TOLEM_RECONCILE_AT"]]
    await schedule.trigger()

    async def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await store.live.get("/api/v1/reconciliations")).json()["items"]
        return found

    (run,) = await until(listed, "the nightly reconciliation")
    # To its very end: it goes on to connections made meanwhile, and the next test's own reconciliation were refused.
    (night,) = (await schedule.describe()).info.recent_actions
    assert isinstance(night.action, ScheduleActionExecutionStartWorkflow)
    async with asyncio.timeout(PATIENCE):
        await client.get_workflow_handle(night.action.workflow_id).result()
    assert run["trigger"] == "schedule"
    ended = await over(store, run["id"])
    assert (ended["status"], ended["totals"]["actions"]["booked"]) == ("completed", 1)
    assert (await store.read(late.invoice_id))["state"] == "paid"


async def test_pages(store: Shop) -> None:
    async with planting(store) as planter:
        await planter.plant(0, 8)
    runs = [(await reconcile(store))[0]["id"] for _ in range(3)]
    first = (await store.live.get("/api/v1/reconciliations", params={"page_size": 2})).json()
    cursor = {"page_size": 2, "cursor": first["next_cursor"]}
    second = (await store.live.get("/api/v1/reconciliations", params=cursor)).json()
    assert [one["id"] for one in first["items"] + second["items"]] == runs[::-1]
    seen, params = list[int](), {"page_size": "3"}
    while True:
        page = (await store.live.get(f"/api/v1/reconciliations/{runs[0]}/lines", params=params)).json()
        seen += [line["number"] for line in page["items"]]
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    assert len(seen) == 8
    assert seen == sorted(set(seen))


@pytest.mark.long
async def test_the_command_line(store: Shop, bank: EmulatorAdmin, tmp_path: Path) -> None:
    async with planting(store) as planter:
        one = (await planter.plant(0, 1))[0]
    file = tmp_path / "statement.csv"
    rows = [HEADER.replace(",", ";"), *(row.replace(",", ";") for row in await statement_of(bank, [one.payment_id]))]
    file.write_text("\ufeff" + "\r\n".join(rows), encoding="utf-8")
    code, told = await tolem(store, "reconcile", "run", store.merchant_id, "--statement", str(file), "--wait")
    assert code == 0, told
    run_id = next(word for word in told.split() if word.startswith("rec_"))
    assert "completed" in told
    code, told = await tolem(store, "reconcile", "show", run_id, "--verdict", "paid_after_close")
    assert (code, one.invoice_id in told) == (0, True), told
    code, told = await tolem(store, "reconcile", "list", "--merchant", store.merchant_id)
    assert (code, run_id in told) == (0, True), told
    file.write_text("nonsense", encoding="utf-8")
    code, told = await tolem(store, "reconcile", "run", store.merchant_id, "--statement", str(file))
    assert (code, "line 1" in told) == (1, True), told


async def tolem(shop: Shop, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cli", *words),
        env={**os.environ, **shop.stack.system.operator_environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        told, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, told.decode()
