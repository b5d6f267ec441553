"""Random walks through the public door, with a small reference model that says what must hold at every step."""

import itertools
import random
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from domain.errors import Code
from domain.invoice import Kind, State
from domain.money import format_amount
from tests.support.api_errors import assert_error
from tests.support.machine import OPEN, OVER, PAID, REFUNDABLE, Door, ModelBill, tenge
from tests.support.shop import Shop, fresh_key, fresh_phone

pytestmark = [pytest.mark.stack, pytest.mark.long]

# Enough for a walk to open some bills and take a few to their ends; some 15 s in all.
WALKS, STEPS = 8, 16
AMOUNTS = st.integers(100, 100_000_00)
# Percent of the bill; None asks for all that is left.
SHARES = st.sampled_from([None, 1, 25, 50, 99, 100, 101])
_walks = itertools.count(random.randrange(1_000_000))


class Walk(RuleBasedStateMachine):
    """`shop` is set by the test."""

    shop: Shop
    bills = Bundle("bills")
    paid = Bundle("paid")

    def __init__(self) -> None:
        super().__init__()
        self.live = Door(self.shop.stack.system.api_url, self.shop.live.headers["X-API-Key"])
        self.test = Door(self.shop.stack.system.api_url, self.shop.test.headers["X-API-Key"])
        self.bank = httpx.Client(base_url=self.shop.stack.system.emulator_url, trust_env=False, timeout=30)
        self.known: list[ModelBill] = []
        self.order_id = ""

    @initialize()
    def begin(self) -> None:
        """Each walk finds its own bills again by an order id."""
        self.order_id = f"walk-{next(_walks)}"

    def teardown(self) -> None:
        """The lists and the bank's own books agree with the model at the end of every walk."""
        try:
            if self.order_id:
                self._lists_agree()
                self._bank_agrees()
        finally:
            for door in (self.live, self.test, self.bank):
                door.close()

    # --- what merchants do

    @rule(
        target=bills,
        kind=st.sampled_from(Kind),
        sandbox=st.booleans(),
        keyed=st.booleans(),
        amount=AMOUNTS,
    )
    def create(self, kind: Kind, sandbox: bool, keyed: bool, amount: int) -> ModelBill:
        return self._create(kind, sandbox, keyed, amount)

    def _create(self, kind: Kind, sandbox: bool, keyed: bool, amount: int) -> ModelBill:
        phone = fresh_phone() if kind is Kind.PHONE else None
        body: dict[str, object] = {"amount": tenge(amount), "external_order_id": self.order_id}
        body |= {"phone_number": phone} if phone else {"kind": kind.value}
        key = fresh_key() if keyed else None
        answer = self._door(sandbox).post(_path(kind), body, key)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["state"], made["amount"]) == ("pending", format_amount(amount))
        bill = ModelBill(
            id=made["id"],
            kind=kind,
            sandbox=sandbox,
            amount=amount,
            phone=phone,
            bank_id=made["kaspi_invoice_id"],
            key=key,
            body=body,
            answer=answer.content,
        )
        assert sandbox or bill.bank_id is not None
        self.known.append(bill)
        note(f"{bill.id}: {'sandbox ' if sandbox else ''}{kind}")
        return self._checked(bill)

    @rule(bill=bills)
    def repeat(self, bill: ModelBill) -> None:
        if bill.key is None:
            return
        answer = self._door(bill.sandbox).post(_path(bill.kind), bill.body, bill.key)
        assert (answer.status_code, answer.content) == (201, bill.answer)
        assert answer.headers["idempotent-replayed"] == "true"

    @rule(bill=bills, more=st.integers(1, 1000))
    def misuse_the_key(self, bill: ModelBill, more: int) -> None:
        if bill.key is None:
            return
        other = bill.body | {"amount": tenge(bill.amount + more)}
        assert_error(self._door(bill.sandbox).post(_path(bill.kind), other, bill.key), Code.IDEMPOTENCY_KEY_REUSED)

    @rule(bill=bills)
    def cancel(self, bill: ModelBill) -> None:
        answer = self._door(bill.sandbox).post(f"/invoices/{bill.id}/cancel")
        if bill.kind is not Kind.PHONE or bill.state in {State.FAILED, State.EXPIRED}:
            assert_error(answer, Code.INVOICE_NOT_CANCELABLE)
        elif bill.state in PAID:
            assert_error(answer, Code.INVOICE_ALREADY_PAID)
        else:
            bill.state = State.CANCELED
            assert (answer.status_code, answer.json()["state"]) == (200, "canceled"), answer.text
        self._checked(bill)

    @rule(bill=bills, share=SHARES, by_path=st.booleans(), keyed=st.booleans())
    def refund_any(self, bill: ModelBill, share: int | None, by_path: bool, keyed: bool) -> None:
        self._refund(bill, share, by_path, keyed)

    @rule(bill=paid, share=SHARES, by_path=st.booleans(), keyed=st.booleans())
    def refund_what_was_paid(self, bill: ModelBill, share: int | None, by_path: bool, keyed: bool) -> None:
        self._refund(bill, share, by_path, keyed)

    # --- what payers do

    @rule(bill=bills, deed=st.sampled_from(["pay", "reject", "expire"]))
    def live_payer_acts(self, bill: ModelBill, deed: str) -> None:
        self._live_payer_acts(bill, deed)

    def _live_payer_acts(self, bill: ModelBill, deed: str) -> None:
        if bill.sandbox or (deed == "expire" and bill.kind is not Kind.PHONE):
            return  # an expired QR keeps its word for as long as it would have lived
        answer = self.bank.post(f"/emulator/purchases/{bill.bank_id}/{deed}")
        assert answer.status_code == (200 if bill.state in OPEN else 409), answer.text
        if bill.state not in OPEN:
            return
        if deed == "pay":
            bill.pay()
        elif deed == "expire":
            bill.state = State.EXPIRED
        else:
            bill.state = State.CANCELED if bill.kind is Kind.PHONE else State.FAILED
        self._bank_is_heard(bill)

    @rule(bill=bills)
    def live_payer_pays_what_is_over(self, bill: ModelBill) -> None:
        if bill.sandbox or bill.state not in OVER:
            return
        answer = self.bank.post(f"/emulator/purchases/{bill.bank_id}/pay", params={"late": "true"})
        assert answer.status_code == 200, answer.text
        bill.pay()
        self._bank_is_heard(bill)

    @rule(bill=bills, status=st.sampled_from([State.PAID, State.CANCELED, State.FAILED, State.PENDING]))
    def simulate(self, bill: ModelBill, status: State) -> None:
        self._simulate(bill, status)

    def _simulate(self, bill: ModelBill, status: State) -> None:
        answer = self._door(bill.sandbox).post(f"/sandbox/invoices/{bill.id}/simulate", {"status": status.value})
        if not bill.sandbox:
            assert_error(answer, Code.NOT_SANDBOX)
        elif not bill.can_be(status):
            assert_error(answer, Code.ILLEGAL_TRANSITION)
        elif status is bill.state and answer.status_code == 409:
            assert_error(answer, Code.ILLEGAL_TRANSITION)  # its story is over, and takes not even what is so already
        else:
            assert answer.status_code == 200, answer.text
            if status is State.PAID and bill.state is not State.PAID:
                bill.pay()
            elif status is not State.PENDING:
                bill.state = status
        self._checked(bill)

    @rule(targets=(bills, paid), kind=st.sampled_from(Kind), sandbox=st.booleans(), amount=AMOUNTS)
    def create_and_pay(self, kind: Kind, sandbox: bool, amount: int) -> ModelBill:
        bill = self._create(kind, sandbox, False, amount)
        if sandbox:
            self._simulate(bill, State.PAID)
        else:
            self._live_payer_acts(bill, "pay")
        return bill

    # --- what must hold

    @precondition(lambda self: bool(self.known))
    @rule(which=st.integers(0, 1000))
    def read(self, which: int) -> None:
        self._checked(self.known[which % len(self.known)])

    @rule(state=st.sampled_from([State.PENDING, State.PAID, State.CANCELED, State.REFUNDED]), sandbox=st.booleans())
    def list_by_state(self, state: State, sandbox: bool) -> None:
        page = self.live.get(
            "/invoices",
            external_order_id=self.order_id,
            page_size=100,
            is_sandbox=str(sandbox).lower(),
            # A word of both lists: the published ones gather several states.
            status=state.value,
        )
        wanted = {one.id for one in self.known if one.sandbox is sandbox and one.shown["status"] == state.value}
        assert {one["id"] for one in page["items"]} == wanted

    def _refund(self, bill: ModelBill, share: int | None, by_path: bool, keyed: bool) -> None:
        asked = None if share is None else max(1, bill.amount * share // 100)
        body: dict[str, object] = {} if asked is None else {"amount": tenge(asked)}
        path = f"/invoices/{bill.id}/refund" if by_path else "/refunds"
        body |= {} if by_path else {"invoice_id": bill.id}
        key = fresh_key() if keyed else None
        door = self._door(bill.sandbox)
        answer = door.post(path, body, key)
        amount = bill.available if asked is None else asked
        if bill.state not in REFUNDABLE and bill.state is not State.REFUNDED:
            assert_error(answer, Code.INVOICE_NOT_PAID)
        elif not 0 < amount <= bill.available:
            assert_error(answer, Code.REFUND_EXCEEDS_AVAILABLE)
        else:
            assert answer.status_code == 201, answer.text
            made = answer.json()
            assert (made["status"], made["amount"]) == ("pending", format_amount(amount))
            door.until(lambda: door.get(f"/refunds/{made['id']}")["status"] == "completed", f"{made['id']} to be done")
            bill.give_back(amount)
            if key is not None:
                assert door.post(path, body, key).content == answer.content
        self._checked(bill)

    def _checked(self, bill: ModelBill) -> ModelBill:
        seen = self._door(bill.sandbox).get(f"/invoices/{bill.id}")
        assert {name: seen[name] for name in bill.shown} == bill.shown
        return bill

    def _bank_is_heard(self, bill: ModelBill) -> None:
        def heard() -> bool:
            checked: dict[str, Any] = self.live.post("/invoices/status/check", {"ids": [bill.id]}).json()
            return bool(checked["items"][0]["invoice"]["state"] == bill.state)

        self.live.until(heard, f"{bill.id} to be {bill.state}")
        self._checked(bill)

    def _lists_agree(self) -> None:
        page = self.live.get("/invoices", external_order_id=self.order_id, page_size=100)
        newest_first = [bill.shown for bill in reversed(self.known)]
        assert [{name: one[name] for name in newest_first[0]} for one in page["items"]] == newest_first
        sandbox = self.test.get("/invoices", external_order_id=self.order_id, page_size=100)
        assert [one["id"] for one in sandbox["items"]] == [one.id for one in reversed(self.known) if one.sandbox]

    def _bank_agrees(self) -> None:
        for bill in self.known:
            which = {"phone": bill.phone} if bill.phone else {"external_id": bill.id}
            book = self.bank.get("/emulator/ledger", params=which).json()
            paid = bill.state in PAID
            expected = [] if bill.sandbox else [(int(bill.bank_id or 0), bill.amount, int(paid))]
            assert [(one["id"], one["amount_tiyn"], one["payments"]) for one in book["purchases"]] == expected
            assert [one["amount_tiyn"] for one in book["refunds"]] == ([] if bill.sandbox else bill.refunds)

    def _door(self, sandbox: bool) -> Door:
        return self.test if sandbox else self.live


def _path(kind: Kind) -> str:
    return "/invoices" if kind is Kind.PHONE else "/qr"


@pytest.mark.timeout(600)  # a failure is shrunk by walking again and again
def test_random_walks_agree_with_the_model(shop: Shop) -> None:
    Walk.shop = shop
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
