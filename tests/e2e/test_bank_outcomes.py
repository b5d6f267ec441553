"""What the bank may say to a creation, or fail to say: a refusal is a failure, silence is not."""

import asyncio
import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT

import pytest

from dev.migrations import ROOT
from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.shop import USED_PHONES, Shop, fresh_key, fresh_phone

pytestmark = pytest.mark.stack

UNKNOWN_TO_BANK = "77000000000"  # emulator/README.md
USED_PHONES.add(UNKNOWN_TO_BANK)


async def _cli(shop: Shop, *arguments: str) -> tuple[int, str]:
    """`tolem …` as an operator of the running system."""
    environment = {**os.environ, **shop.stack.system.operator_environment()}
    done = await create_subprocess_exec(
        sys.executable, "-m", "cli", *arguments, cwd=ROOT, env=environment, stdout=PIPE, stderr=STDOUT
    )
    out, _ = await done.communicate()
    assert done.returncode is not None
    return done.returncode, out.decode()


@pytest.mark.parametrize(
    ("fault", "code", "kaspi_code"),
    [
        ({"fault": "code", "code": 990000028, "execute": False}, Code.KASPI_REFUSED, "990000028"),
        ({"fault": "code", "code": -10000, "execute": False}, Code.KASPI_MISCONFIGURED, "-10000"),
        ({"fault": "code", "code": -1501, "execute": False}, Code.KASPI_MISCONFIGURED, "-1501"),
    ],
)
async def test_a_typed_refusal_is_told_and_replayed_byte_by_byte(
    shop: Shop, bank: EmulatorAdmin, inbox: Inbox, fault: dict[str, object], code: Code, kaspi_code: str
) -> None:
    await bank.fault("remote/create", **fault)  # type: ignore[arg-type]  # the table holds the knobs by name
    body, headers = {"amount": 3, "phone_number": fresh_phone()}, {"Idempotency-Key": fresh_key()}
    first = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    refused = assert_error(first, code)
    assert refused["details"]["kaspi_code"] == kaspi_code
    assert "idempotent-replayed" not in first.headers
    standing = await shop.read(refused["details"]["invoice_id"])
    assert (standing["state"], standing["status"], standing["payment_url"]) == ("failed", "canceled", None)

    again = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    assert (again.status_code, again.content) == (502, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert await shop.purchases(phone=body["phone_number"]) == []  # type: ignore[arg-type]  # it is text
    assert (await shop.inspect(standing["id"])).told == []  # the answer told it


async def test_a_phone_the_bank_does_not_know_is_refused(shop: Shop) -> None:
    body = {"amount": 3, "phone_number": UNKNOWN_TO_BANK}
    refused = assert_error(await shop.live.post("/api/v1/invoices", json=body), Code.KASPI_REFUSED)
    assert refused["details"]["kaspi_code"] == "-1404"
    assert UNKNOWN_TO_BANK not in str(refused)


async def test_a_bank_that_is_away_is_unavailable(shop: Shop, bank: EmulatorAdmin) -> None:
    await shop.stack.kill9("emulator")
    body = {"amount": 3, "phone_number": fresh_phone()}
    assert_error(await shop.live.post("/api/v1/invoices", json=body), Code.KASPI_UNAVAILABLE)
    await shop.stack.start_part("emulator")
    assert await shop.purchases(phone=str(body["phone_number"])) == []


async def test_a_lost_answer_is_held_and_an_operator_names_the_payment(
    shop: Shop, bank: EmulatorAdmin, inbox: Inbox
) -> None:
    await bank.fault("remote/create", "execute_then_drop")
    body, headers = {"amount": 77, "phone_number": fresh_phone()}, {"Idempotency-Key": fresh_key()}
    answer = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    invoice = answer.json()
    assert answer.status_code == 201, answer.text
    assert (invoice["status"], invoice["attention"]) == ("processing", "kaspi_outcome_unknown")
    assert invoice["kaspi_invoice_id"] is None
    (told,) = await inbox.wait(invoice["id"])
    assert told.body["type"] == "invoice.attention_required"
    (purchase,) = await shop.purchases(phone=str(body["phone_number"]))

    again = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    assert (again.status_code, again.content) == (201, answer.content)
    assert_error(await shop.live.post(f"/api/v1/invoices/{invoice['id']}/cancel"), Code.INVOICE_NOT_CANCELABLE)
    found = ("--choice", "bank_payment", "--bank-payment", str(purchase["id"]))
    code, said = await _cli(shop, "attention", "resolve", invoice["id"], *found)
    assert code == 0, said
    standing = await shop.read(invoice["id"])
    assert (standing["state"], standing["attention"]) == ("pending", None)
    assert standing["kaspi_invoice_id"] == str(purchase["id"])

    await shop.pay(standing)
    paid = await shop.until_state(invoice["id"], "paid")
    (told_paid,) = await inbox.wait(invoice["id"], state="paid")
    assert told_paid.object == paid
    assert len(await shop.purchases(phone=str(body["phone_number"]))) == 1


async def test_an_operator_declares_a_bill_absent_that_never_reached_the_bank(
    shop: Shop, bank: EmulatorAdmin, inbox: Inbox
) -> None:
    await bank.fault("remote/create", "drop_before")
    invoice = await shop.bill()
    assert (invoice["state"], invoice["attention"]) == ("processing", "kaspi_outcome_unknown")
    code, said = await _cli(shop, "attention", "resolve", invoice["id"], "--choice", "absent")
    assert code == 0, said
    standing = await shop.read(invoice["id"])
    assert (standing["state"], standing["attention"]) == ("failed", None)
    assert standing["status_reason"] == "declared_absent_by_operator"
    (told,) = await inbox.wait(invoice["id"], state="failed")
    assert told.object == standing
    assert await shop.purchases(phone=invoice["phone_number"]) == []


async def test_a_slow_bank_is_processing_and_one_that_does_not_answer_is_not_called_checked(
    shop: Shop, bank: EmulatorAdmin, inbox: Inbox
) -> None:
    """Two things that take seconds, at one time."""
    unseen = await shop.bill()
    await bank.fault("payment/status", "error_5xx_before", times=None)
    # In the middle between TOLEM_ANSWER_WITHIN_SECONDS and TOLEM_KASPI_READ_TIMEOUT_SECONDS (tests/conftest.py).
    await bank.fault("remote/create", "delay", delay_ms=10_000)
    await shop.pay(unseen)
    made, checked = await asyncio.gather(shop.bill(), shop.check(unseen["id"]))

    assert (made["state"], made["attention"], made["payment_url"]) == ("processing", None, None)
    (told,) = await inbox.wait(made["id"])
    assert (told.object["state"], told.body["data"]["previous_state"]) == ("pending", "processing")
    assert told.object == await shop.read(made["id"])
    assert len(await shop.purchases(phone=made["phone_number"])) == 1

    assert [(one["checked"], one["invoice"]["state"]) for one in checked["items"]] == [(False, "pending")]
    await bank.clear_faults()
    await shop.until_state(unseen["id"], "paid")


@pytest.mark.parametrize("fault", ["empty", "html", "malformed", "error_5xx_after", "throttle_429"])
async def test_an_answer_that_is_none_is_no_refusal(shop: Shop, bank: EmulatorAdmin, fault: str) -> None:
    await bank.fault("remote/create", fault)
    invoice = await shop.bill()
    assert (invoice["state"], invoice["attention"]) == ("processing", "kaspi_outcome_unknown")
    executed = fault != "throttle_429"
    assert len(await shop.purchases(phone=invoice["phone_number"])) == executed


@pytest.mark.parametrize("fault", ["execute_then_drop", "html", "error_5xx_before"])
async def test_a_qr_is_simply_asked_for_again(shop: Shop, bank: EmulatorAdmin, fault: str) -> None:
    """A token that reached nobody cannot be paid, so a second one hurts nobody."""
    await bank.fault("qr/create", fault)
    made = await shop.qr()
    assert (made["state"], made["attention"]) == ("pending", None)
    purchases = await shop.purchases(external_id=made["id"])
    assert [one["qr_token"] for one in purchases if str(one["id"]) == made["kaspi_invoice_id"]] == [made["qr_token"]]


async def test_an_unknown_status_word_is_not_a_failure(shop: Shop, bank: EmulatorAdmin) -> None:
    invoice = await shop.bill()
    await bank.fault("payment/status", "status_word", times=None, word="SomethingNew")
    checked = await shop.check(invoice["id"])
    assert checked["items"][0]["checked"] is True
    assert (await shop.read(invoice["id"]))["state"] == "pending"
    await bank.clear_faults()
    await shop.pay(invoice)
    await shop.until_state(invoice["id"], "paid")
