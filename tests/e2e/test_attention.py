"""`tolem attention` as an operator uses it: what happened, what the bank says now, the safe choices, the decision."""

import pytest

from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.operating import operate
from tests.support.refunds import refund, sandbox_paid
from tests.support.shop import Shop, fresh_phone
from tests.support.waiting import until

pytestmark = pytest.mark.stack


async def attention(shop: Shop, *words: str) -> tuple[int, str]:
    """Exit code and everything that was printed, in one line."""
    return await operate(shop.stack, "attention", *words)


async def paid_late(shop: Shop) -> str:
    bill = await shop.bill()
    assert (await shop.live.post(f"/api/v1/invoices/{bill['id']}/cancel")).status_code == 200
    await shop.stack.emulator.act(bill["kaspi_invoice_id"], "pay", late=True)
    invoice_id: str = (await shop.until_state(bill["id"], "paid"))["id"]
    return invoice_id


async def unknown(shop: Shop, bank: EmulatorAdmin, phone: str) -> str:
    await bank.fault("remote/create", "execute_then_drop")
    bill = await shop.bill(phone_number=phone)
    assert bill["attention"] == "kaspi_outcome_unknown"
    invoice_id: str = bill["id"]
    return invoice_id


async def test_late_money_is_shown_with_the_banks_word_and_acknowledged(shop: Shop, inbox: Inbox) -> None:
    invoice_id = await paid_late(shop)
    code, listed = await attention(shop, "list", "--merchant", shop.merchant_id)
    assert code == 0
    assert f"{invoice_id} {shop.merchant_id} live paid_after_close paid 1500.00" in listed
    code, shown = await attention(shop, "show", invoice_id)
    assert code == 0
    assert "The money came after the invoice was closed" in shown
    assert "status: Processed (paid)" in shown
    assert "paid: 1500.00 KZT, can be refunded: 1500.00 KZT" in shown
    assert f"tolem attention resolve {invoice_id} --choice acknowledge" in shown

    code, said = await attention(shop, "resolve", invoice_id, "--choice", "absent")
    assert code == 1
    assert "does not fit" in said
    assert "what fits is acknowledge" in said
    code, said = await attention(
        shop, "resolve", invoice_id, "--choice", "acknowledge", "--by", "aigul", "--note", "ok"
    )
    assert (code, said) == (0, f"{invoice_id} is paid, no case any more")
    assert invoice_id not in (await attention(shop, "list"))[1]
    code, said = await attention(shop, "resolve", invoice_id, "--choice", "acknowledge")
    assert code == 1
    assert "nothing needs a human there" in said
    standing = await shop.read(invoice_id)
    assert (standing["state"], standing["attention"]) == ("paid", None)
    last = max(await inbox.wait(invoice_id, count=3), key=lambda one: int(one.body["sequence"]))
    assert (last.object["state"], last.object["attention"]) == ("paid", None)


async def test_a_decision_is_in_the_audit_log_with_who_and_why(shop: Shop) -> None:
    invoice_id = await paid_late(shop)
    decision = ("--choice", "acknowledge", "--by", "aigul", "--note", "asked")
    assert (await attention(shop, "resolve", invoice_id, *decision))[0] == 0
    answer = await shop.live.get("/api/v1/audit-logs", params={"object_id": invoice_id})
    assert answer.status_code == 200, answer.text
    decided = [row for row in answer.json()["items"] if "aigul" in str(row)]
    assert len(decided) == 1, answer.text
    assert "asked" in str(decided[0])


async def test_a_bill_found_at_the_bank_is_adopted_and_one_that_is_not_ours_is_refused(
    shop: Shop, bank: EmulatorAdmin
) -> None:
    phone = fresh_phone()
    invoice_id = await unknown(shop, bank, phone)
    code, shown = await attention(shop, "show", invoice_id)
    assert code == 0
    assert "We know no payment at the bank to ask about." in shown
    assert "--choice bank_payment --bank-payment" in shown
    assert (await attention(shop, "resolve", invoice_id, "--choice", "bank_payment"))[0] == 2
    code, _ = await attention(shop, "resolve", invoice_id, "--choice", "bank_payment", "--bank-payment", "999")
    assert code == 1
    (purchase,) = await shop.purchases(phone=phone)
    code, said = await attention(
        shop, "resolve", invoice_id, "--choice", "bank_payment", "--bank-payment", str(purchase["id"])
    )
    assert (code, said) == (0, f"{invoice_id} is pending, no case any more")
    await bank.act(purchase["id"], "pay")
    await shop.until_state(invoice_id, "paid")
    assert len(await shop.purchases(phone=phone)) == 1


async def test_another_look_that_settles_nothing_says_so(shop: Shop, bank: EmulatorAdmin) -> None:
    code_bill = await shop.qr()
    await bank.fault("payment/status", "status_word", times=None, word="Zzz")

    async def doubted() -> bool:
        await shop.check(code_bill["id"])
        return bool((await shop.read(code_bill["id"]))["attention"] == "kaspi_unknown_status")

    await until(doubted, "the unknown word")
    code, said = await attention(shop, "resolve", code_bill["id"], "--choice", "recheck")
    assert code == 3
    assert "still a case: kaspi_unknown_status" in said
    await bank.clear_faults()
    code, said = await attention(shop, "resolve", code_bill["id"], "--choice", "recheck")
    assert (code, said) == (0, f"{code_bill['id']} is pending, no case any more")


async def test_a_refund_that_needs_a_human_is_settled_in_the_same_way(shop: Shop) -> None:
    invoice = await sandbox_paid(shop)
    made = await refund(shop.test, invoice["id"], simulate="pending")
    held = await shop.test.post(f"/api/v1/sandbox/refunds/{made['id']}/simulate", json={"status": "attention"})
    assert held.status_code == 200, held.text
    assert f"{made['id']} {shop.merchant_id} test kaspi_outcome_unknown" in (await attention(shop, "list"))[1]
    code, shown = await attention(shop, "show", made["id"])
    assert code == 0
    assert "There is no bank behind a sandbox." in shown
    assert f"tolem attention resolve {made['id']} --choice not_executed" in shown
    code, said = await attention(shop, "resolve", made["id"], "--choice", "acknowledge")
    assert code == 1
    assert "what fits is executed, not_executed" in said
    code, said = await attention(shop, "resolve", made["id"], "--choice", "executed", "--by", "aigul")
    assert (code, said) == (0, f"{made['id']} is completed, no case any more")


async def test_what_does_not_exist_is_told(shop: Shop) -> None:
    for object_id in ("inv_nothing", "ref_nothing", "evt_nothing"):
        code, said = await attention(shop, "show", object_id)
        assert code == 1
        assert "There is no such invoice or refund." in said
