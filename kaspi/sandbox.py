"""The bank of sandbox invoices: issues at once, then waits for the simulated payer, or acts out a scenario.

What it says goes through the same judges as the real bank's answers (`kaspi.judge`, `kaspi.codes`, `kaspi.status`), so
nothing can come from it that could not come from Kaspi.
"""

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec

from domain.bank import BankFact, Verdict
from domain.invoice import Issued, Kind, OpenInvoice
from domain.policy import DEADLINE_GRACE, DEFAULT_POLL_INTERVAL, PHONE_DEADLINE_GRACE
from domain.refund import Sums
from domain.scenario import Scenario, Scene
from domain.scenarios import BY_SCENARIO, EXPIRES_AFTER, EXPIRY_GRACE, sandbox_payment_id
from kaspi.codes import Call
from kaspi.errors import KaspiRefused
from kaspi.judge import judge_answer, judge_exception
from kaspi.status import meaning

SCAN_AND_CONFIRM = timedelta(seconds=245)  # Kaspi guide §3.1: 180 s to scan, 65 s to confirm
_CREATES = {Kind.PHONE: Call.REMOTE_CREATE, Kind.QR: Call.QR_CREATE, Kind.LINK: Call.LINK_CREATE}
_HALF_AN_ANSWER = b'{"StatusCode":0,"Message":null,"Data":{"QrPay'
_TURNED_AWAY = 2  # attempts of one look

_PAID, _NOBODY_KNOWS = "Processed", "PaymentOnHold"
_WORDS = {Scenario.DECLINED: "Error"} | dict.fromkeys(
    (
        Scenario.PAID,
        Scenario.ANSWER_LOST,
        Scenario.THROTTLED,
        Scenario.SESSION_LOST,
        Scenario.REFUND_REFUSED,
        Scenario.PARTIAL_REFUND_ONLY,
    ),
    _PAID,
)


class SandboxBank:
    """Same shapes as the real one, no I/O. Of a bill without a scenario a status is always "waiting"."""

    def __init__(self, *, phone_lifetime: timedelta, scene: Scene | None = None) -> None:
        self._phone_lifetime = phone_lifetime
        self._scene = scene
        self._lost: set[str] = set()

    def acting(self, scene: Scene) -> "SandboxBank":
        """The same bank at one moment of a scenario."""
        return SandboxBank(phone_lifetime=self._phone_lifetime, scene=scene)

    async def create(self, order: OpenInvoice) -> Issued:
        """Ids, tokens and links are made from the invoice's id: the same order gives the same bill."""
        if order.is_sandbox and order.scenario is not None:
            self._may_fail(order, order.scenario)
        number = sandbox_payment_id(order.invoice_id)
        now = datetime.now(UTC)
        phone = order.kind is Kind.PHONE
        lasts, grace = SCAN_AND_CONFIRM, DEADLINE_GRACE
        if phone:
            lasts, grace = self._phone_lifetime, PHONE_DEADLINE_GRACE
        if order.scenario is Scenario.EXPIRES:
            lasts, grace = timedelta(seconds=EXPIRES_AFTER), timedelta(seconds=EXPIRY_GRACE)
        return Issued(
            bank_payment_id=number,
            expires_at=now + lasts,
            deadline=now + lasts + grace,
            poll_interval=DEFAULT_POLL_INTERVAL,
            qr_token=f"{number:041d}" if order.kind is Kind.QR else None,
            payment_link=f"https://pay.kaspi.kz/pay/sandbox{number}" if order.kind is Kind.LINK else None,
        )

    def _may_fail(self, order: OpenInvoice, scenario: Scenario) -> None:
        call = _CREATES[order.kind]
        code = BY_SCENARIO[scenario].course(order.kind).bank_code
        if code is not None:
            _answer(call, code)
        if scenario is Scenario.MALFORMED_ANSWER:
            judge_answer(call, 200, "application/json", _HALF_AN_ANSWER)
        if scenario is Scenario.ANSWER_LOST and (order.kind is Kind.PHONE or order.invoice_id not in self._lost):
            # Whoever may repeat a create does so at once and in the same process: nothing needs to last longer.
            if order.kind is not Kind.PHONE:
                self._lost.add(order.invoice_id)
            raise judge_exception(call, TimeoutError(), sent=True)
        self._lost.discard(order.invoice_id)

    async def status(self, payment_id: int, kind: Kind) -> BankFact:
        """Waiting, or the scenario's word; fails as the real one does where the scenario says so."""
        if self._scene is None:
            return BankFact(word="sandbox", verdict=Verdict.WAITING, seen_at=datetime.now(UTC))
        turned_away = self._scene.attempt <= _TURNED_AWAY
        if self._scene.scenario is Scenario.THROTTLED and turned_away:
            judge_answer(Call.STATUS, 429, "text/plain", b"")
        if self._scene.scenario is Scenario.SESSION_LOST and turned_away:
            judge_answer(Call.STATUS, 401, "text/plain", b"")
        word = _word(self._scene, kind)
        return BankFact(word=word, verdict=meaning(word, kind), seen_at=datetime.now(UTC))

    async def cancel(self, payment_id: int) -> Verdict:
        """Canceled, but where the payment wins."""
        wins = self._scene is not None and self._scene.scenario is Scenario.PAYMENT_WINS
        return meaning(_PAID if wins else "RemotePaymentCanceled", Kind.PHONE)

    async def sums(self, payment_id: int) -> Sums:
        """Asked of scenarios only: of other sandbox refunds the simulator decides (workflows.refund)."""
        scene = self._refunded(Call.DETAILS)
        return Sums(total=scene.paid, available=scene.available)

    async def give_back(self, payment_id: int, amount: int) -> int:
        """As `sums`; the id is made from the payment and from what was given back of it before."""
        scene = self._refunded(Call.RETURN)
        if scene.scenario is Scenario.REFUND_REFUSED:
            _answer(Call.RETURN, -99000011)
        if amount > scene.available:
            _answer(Call.RETURN, -99000005)
        return _return_id(payment_id, scene.given_back)

    def _refunded(self, call: Call) -> Scene:
        if self._scene is None:
            raise KaspiRefused(call, "sandbox_has_no_bank")
        return self._scene

    async def ping(self) -> None:
        """There is nothing to ask."""


def _return_id(payment_id: int, given_back: int) -> int:
    """One for each refund of a payment: what was given back before it grows with each."""
    return int.from_bytes(hashlib.sha256(f"{payment_id}:{given_back}".encode()).digest()[:6]) % 10**13


def _answer(call: Call, code: int) -> None:
    """An answer of the bank with this code, judged as every answer is: raises the error it means."""
    judge_answer(
        call, 200, "application/json", msgspec.json.encode({"StatusCode": code, "Message": None, "Data": None})
    )


def _word(scene: Scene, kind: Kind) -> str:
    phone = kind is Kind.PHONE
    if scene.scenario is Scenario.EXPIRES:
        return "RemotePaymentExpired" if phone else "QrTokenDiscarded"
    if scene.scenario is Scenario.UNKNOWN_WORD:
        return _NOBODY_KNOWS if scene.look <= 1 else _PAID
    if scene.scenario is Scenario.PAYMENT_WINS and (scene.cancel_asked or not phone):
        return _PAID
    return _WORDS.get(scene.scenario, "RemotePaymentCreated" if phone else "QrTokenCreated")
