"""Money back through the public door, with the bank's own book as judge."""

import asyncio
import random

import httpx
import pytest

from domain.bank import Scheme
from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.refunds import given_back, paid_bill, refund, sandbox_paid, until_refund
from tests.support.shop import Shop, close_shop, fresh_key, open_shop

pytestmark = pytest.mark.stack


async def test_a_partial_refund_and_then_the_rest(shop: Shop, inbox: Inbox) -> None:
    invoice = await paid_bill(shop, amount=1500)
    assert (invoice["refunded_amount"], invoice["available_for_refund"]) == ("0.00", "1500.00")
    answer = await shop.live.post(
        f"/api/v1/invoices/{invoice['id']}/refund", json={"amount": 500.5, "reason": "Нет в наличии"}
    )
    assert answer.status_code == 201, answer.text
    first = answer.json()
    assert answer.headers["location"] == f"/api/v1/refunds/{first['id']}"
    assert (first["status"], first["amount"], first["reason"]) == ("pending", "500.50", "Нет в наличии")
    assert first["kaspi_invoice_id"] == invoice["kaspi_invoice_id"]
    done = await until_refund(shop.live, first["id"], status="completed")
    assert done["kaspi_refund_id"] is not None
    assert done["completed_at"] is not None
    standing = await shop.read(invoice["id"])
    assert (standing["state"], standing["status"]) == ("partially_refunded", "paid")
    assert (standing["refunded_amount"], standing["available_for_refund"]) == ("500.50", "999.50")

    rest = await refund(shop.live, invoice["id"])
    assert rest["amount"] == "999.50"
    await until_refund(shop.live, rest["id"], status="completed")
    standing = await shop.read(invoice["id"])
    assert (standing["state"], standing["status"]) == ("refunded", "refunded")
    assert (standing["refunded_amount"], standing["available_for_refund"]) == ("1500.00", "0.00")
    assert await given_back(shop, invoice) == [50_050, 99_950]

    for made in (done, rest):
        (told,) = await inbox.wait(made["id"])
        assert (told.body["type"], told.object["status"]) == ("refund.completed", "completed")
    # Told by two stories: the second may be quicker.
    of_invoice = sorted(await inbox.wait(invoice["id"], count=3), key=lambda one: one.body["sequence"])
    refunded = [one for one in of_invoice if one.body["type"] == "invoice.refunded"]
    assert [(one.body["data"]["previous_state"], one.object["refunded_amount"]) for one in refunded] == [
        ("paid", "500.50"),
        ("partially_refunded", "1500.00"),
    ]


async def test_a_repeated_request_gives_the_first_answer_and_moves_no_more_money(shop: Shop) -> None:
    invoice = await paid_bill(shop, amount=900)
    headers, body = {"Idempotency-Key": fresh_key()}, {"invoice_id": invoice["id"], "amount": 300}
    answers = await asyncio.gather(*(shop.live.post("/api/v1/refunds", json=body, headers=headers) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.content for answer in answers}) == 1
    await until_refund(shop.live, answers[0].json()["id"], status="completed")
    again = await shop.live.post("/api/v1/refunds", json=body, headers=headers)
    assert (again.status_code, again.content) == (201, answers[0].content)
    assert again.headers["idempotent-replayed"] == "true"
    assert await given_back(shop, invoice) == [30_000]
    other = await shop.live.post("/api/v1/refunds", json=body | {"amount": 301}, headers=headers)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)


async def test_a_qr_is_refunded_by_its_id(shop: Shop) -> None:
    made = await shop.qr(amount=700)
    await shop.pay(made)
    await shop.until_state(made["id"], "paid")
    answer = await shop.live.post("/api/v1/refunds", json={"qr_id": made["id"]})
    assert answer.status_code == 201, answer.text
    await until_refund(shop.live, answer.json()["id"], status="completed")
    assert await given_back(shop, made) == [70_000]


async def test_what_cannot_be_refunded_is_refused(shop: Shop) -> None:
    unpaid = await shop.bill()
    answer = await shop.live.post(f"/api/v1/invoices/{unpaid['id']}/refund")
    assert assert_error(answer, Code.INVOICE_NOT_PAID)["details"] == {"state": "pending"}
    paid = await paid_bill(shop, amount=100)
    answer = await shop.live.post(f"/api/v1/invoices/{paid['id']}/refund", json={"amount": 100.01})
    assert assert_error(answer, Code.REFUND_EXCEEDS_AVAILABLE)["details"] == {"available": "100.00"}
    answer = await shop.live.post("/api/v1/refunds", json={"amount": -1, "reason": 7})
    assert {one["field"] for one in assert_error(answer, Code.INVALID_REQUEST)["errors"]} == {"amount", "reason"}
    answer = await shop.live.post("/api/v1/refunds", json={"amount": 1})
    assert {one["field"] for one in assert_error(answer, Code.INVALID_REQUEST)["errors"]} == {"invoice_id", "qr_id"}
    answer = await shop.live.post(f"/api/v1/invoices/{paid['id']}/refund", json={"simulate": "failed"})
    assert_error(answer, Code.INVALID_REQUEST)
    answer = await shop.test.post(f"/api/v1/invoices/{paid['id']}/refund")
    assert_error(answer, Code.NOT_FOUND)  # a test key does not see live invoices
    assert await given_back(shop, paid) == []


async def test_a_refused_request_may_be_repeated_with_its_key_once_it_is_possible(shop: Shop) -> None:
    invoice = await shop.bill(amount=200)
    headers = {"Idempotency-Key": fresh_key()}
    refused = await shop.live.post(f"/api/v1/invoices/{invoice['id']}/refund", headers=headers)
    assert_error(refused, Code.INVOICE_NOT_PAID)
    await shop.pay(invoice)
    await shop.until_state(invoice["id"], "paid")
    answer = await shop.live.post(f"/api/v1/invoices/{invoice['id']}/refund", headers=headers)
    assert answer.status_code == 201, answer.text
    await until_refund(shop.live, answer.json()["id"], status="completed")


async def test_a_scheme_that_needs_the_customer_says_what_to_do(shop: Shop) -> None:
    other = await open_shop(shop.stack, "Refunds on r1", scheme=Scheme.R1)
    made = await other.qr(amount=50)
    await other.pay(made)
    await other.until_state(made["id"], "paid")
    refused = assert_error(await other.live.post(f"/api/v1/invoices/{made['id']}/refund"), Code.REFUND_UNSUPPORTED)
    assert "Kaspi Pay app" in refused["message"]
    await close_shop(other)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"fault": "code", "code": -99000020, "execute": False}, "kaspi_refunds_only_in_full"),
        ({"fault": "code", "code": -99000011, "execute": False}, "kaspi_refused"),
        ({"fault": "code", "code": -99000003, "execute": False}, "kaspi_misconfigured"),
    ],
)
async def test_a_typed_refusal_is_a_failure_and_frees_the_money(
    shop: Shop, bank: EmulatorAdmin, inbox: Inbox, fault: dict[str, object], reason: str
) -> None:
    invoice = await paid_bill(shop, amount=1000)
    await bank.fault("payment/return", **fault)  # type: ignore[arg-type]  # the table holds the knobs by name
    made = await refund(shop.live, invoice["id"], amount=400)
    failed = await until_refund(shop.live, made["id"], status="failed")
    assert failed["status_reason"] == reason
    assert (await shop.read(invoice["id"]))["available_for_refund"] == "1000.00"
    (told,) = await inbox.wait(made["id"])
    assert (told.body["type"], told.object["status_reason"]) == ("refund.failed", reason)
    again = await refund(shop.live, invoice["id"], amount=400)
    await until_refund(shop.live, again["id"], status="completed")
    assert await given_back(shop, invoice) == [40_000]


@pytest.mark.parametrize("fault", ["execute_then_drop", "error_5xx_after", "malformed", "empty"])
async def test_a_lost_answer_is_found_by_reading_back(shop: Shop, bank: EmulatorAdmin, fault: str) -> None:
    invoice = await paid_bill(shop, amount=1000)
    await bank.fault("payment/return", fault)
    made = await refund(shop.live, invoice["id"], amount=400)
    done = await until_refund(shop.live, made["id"], status="completed")
    assert (done["status_reason"], done["kaspi_refund_id"]) == ("confirmed_by_read_back", None)
    assert await given_back(shop, invoice) == [40_000]


async def test_an_attempt_that_never_arrived_is_made_once_more(shop: Shop, bank: EmulatorAdmin) -> None:
    invoice = await paid_bill(shop, amount=1000)
    await bank.fault("payment/return", "drop_before")
    made = await refund(shop.live, invoice["id"], amount=400)
    done = await until_refund(shop.live, made["id"], status="completed")
    assert done["kaspi_refund_id"] is not None
    assert await given_back(shop, invoice) == [40_000]


async def test_a_cashiers_refund_in_between_stops_ours_for_an_operator(
    shop: Shop, bank: EmulatorAdmin, inbox: Inbox
) -> None:
    invoice = await paid_bill(shop, amount=1000)
    # The bank takes its time, the cashier is quicker, and then the answer is lost.
    await bank.fault("payment/return", "execute_then_drop", delay_ms=5000)
    made = await refund(shop.live, invoice["id"], amount=400)
    await bank.until_hit()
    await bank.call("POST", f"purchases/{invoice['kaspi_invoice_id']}/refund", {"amount": "150.00"})
    held = await until_refund(shop.live, made["id"], attention="kaspi_refunded_outside")
    assert held["status"] == "processing"
    (told,) = await inbox.wait(made["id"])
    assert told.body["type"] == "refund.attention_required"
    second = await refund(shop.live, invoice["id"], amount=10)
    await asyncio.sleep(1)  # nothing may go while the first one's outcome is open
    assert (await until_refund(shop.live, second["id"]))["status"] == "pending"
    assert await given_back(shop, invoice) == [40_000]
    assert await given_back(shop, invoice, by_cashier=True) == [15_000]


async def test_a_bank_that_shows_refunds_late_gets_no_second_one(shop: Shop, bank: EmulatorAdmin) -> None:
    invoice = await paid_bill(shop, amount=1000)
    await bank.change({"refund_lag_s": 1.5})
    first = await refund(shop.live, invoice["id"], amount=100)
    second = await refund(shop.live, invoice["id"], amount=100)
    await until_refund(shop.live, first["id"], status="completed")
    await until_refund(shop.live, second["id"], status="completed")
    assert await given_back(shop, invoice) == [10_000, 10_000]


async def test_a_hundred_refunds_at_once_never_exceed_what_was_paid(shop: Shop) -> None:
    invoice = await paid_bill(shop, amount=1000)
    chance = random.Random(20261122)
    amounts = [chance.randint(1, 250_00) / 100 for _ in range(100)]
    answers = await asyncio.gather(*(_ask_until_told(shop, invoice["id"], one) for one in amounts))
    taken = [answer.json() for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer.status_code != 201:
            assert_error(answer, Code.REFUND_EXCEEDS_AVAILABLE)
    assert taken
    for one in taken:
        await until_refund(shop.live, one["id"], status="completed")
    returned = await given_back(shop, invoice)
    assert sorted(returned) == sorted(round(float(one["amount"]) * 100) for one in taken)
    standing = await shop.read(invoice["id"])
    assert sum(returned) <= 100_000
    assert round(float(standing["refunded_amount"]) * 100) == sum(returned)
    listed = await shop.live.get(f"/api/v1/invoices/{invoice['id']}/refunds")
    assert [one["id"] for one in listed.json()["items"]] == [
        one["id"] for one in sorted(taken, key=lambda one: -one["number"])
    ]


async def _ask_until_told(shop: Shop, invoice_id: str, amount: float) -> httpx.Response:
    """What a merchant does: after a 503 (nothing was recorded) the same again, with the same key."""
    headers, body = {"Idempotency-Key": fresh_key()}, {"invoice_id": invoice_id, "amount": amount}

    for _ in range(20):
        answer = await shop.live.post("/api/v1/refunds", json=body, headers=headers)
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(int(answer.headers["Retry-After"]))
    raise AssertionError("the engine stays away")


async def test_a_worker_killed_while_the_bank_refunds_gives_back_once(shop: Shop, bank: EmulatorAdmin) -> None:
    invoice = await paid_bill(shop, amount=1000)
    await bank.fault("payment/return", "delay", delay_ms=5000)
    made = await refund(shop.live, invoice["id"], amount=400)
    await bank.until_hit()  # which thinks about it
    await shop.stack.restart("worker")
    done = await until_refund(shop.live, made["id"], status="completed")
    assert done["status_reason"] == "confirmed_by_read_back"
    assert await given_back(shop, invoice) == [40_000]


async def test_sandbox_refunds_do_what_the_simulator_says(shop: Shop, sandbox_inbox: Inbox) -> None:
    invoice = await sandbox_paid(shop, amount=1000)
    done = await refund(shop.test, invoice["id"], amount=100)
    await until_refund(shop.test, done["id"], status="completed")
    failed = await refund(shop.test, invoice["id"], amount=100, simulate="failed")
    assert (await until_refund(shop.test, failed["id"], status="failed"))["status_reason"] == "simulated"
    waiting = await refund(shop.test, invoice["id"], amount=100, simulate="pending")
    behind = await refund(shop.test, invoice["id"], amount=100)
    await until_refund(shop.test, waiting["id"], status="processing")
    assert (await until_refund(shop.test, behind["id"]))["status"] == "pending"
    simulate = f"/api/v1/sandbox/refunds/{waiting['id']}/simulate"
    held = await shop.test.post(simulate, json={"status": "attention"})
    assert (held.status_code, held.json()["attention"]) == (200, "kaspi_outcome_unknown")
    answer = await shop.test.post(simulate, json={"status": "completed"})
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert_error(await shop.test.post(simulate, json={"status": "failed"}), Code.ILLEGAL_TRANSITION)
    await until_refund(shop.test, behind["id"], status="completed")
    standing = (await shop.test.get(f"/api/v1/invoices/{invoice['id']}")).json()
    assert (standing["state"], standing["refunded_amount"]) == ("partially_refunded", "300.00")
    told = await sandbox_inbox.wait(invoice["id"], count=4)
    assert [one.body["type"] for one in told].count("invoice.refunded") == 3


async def test_the_list_filters(shop: Shop) -> None:
    other = await open_shop(shop.stack, "Refund lists", scheme=None)
    first, second = await sandbox_paid(other, amount=10), await sandbox_paid(other, amount=10)
    made = [
        await refund(other.test, first["id"], amount=1),
        await refund(other.test, first["id"], amount=2, simulate="failed"),
        await refund(other.test, second["id"], amount=3),
    ]
    for one, status in zip(made, ("completed", "failed", "completed"), strict=True):
        await until_refund(other.test, one["id"], status=status)

    async def ids(**params: str | int) -> list[str]:
        answer = await other.test.get("/api/v1/refunds", params=params)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    newest_first = [one["id"] for one in reversed(made)]
    assert await ids() == newest_first
    assert await ids(status="failed") == [made[1]["id"]]
    assert await ids(invoice_id=first["id"]) == [made[1]["id"], made[0]["id"]]
    assert await ids(page=2, page_size=2) == newest_first[2:]
    page = (await other.test.get("/api/v1/refunds", params={"page_size": 2})).json()
    assert page["has_more"] is True
    assert await ids(cursor=page["next_cursor"]) == newest_first[2:]
    assert await ids(attention="true") == []
    assert_error(await other.test.get("/api/v1/refunds", params={"status": "refunded"}), Code.INVALID_REQUEST)
    assert_error(await shop.live.get(f"/api/v1/refunds/{made[0]['id']}"), Code.NOT_FOUND)  # another merchant's
    await close_shop(other)
