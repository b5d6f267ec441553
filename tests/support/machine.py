"""The reference model of one bill, and a plain HTTP door for tests that are not asynchronous."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from domain.invoice import Kind, State
from domain.money import format_amount
from tests.support.waiting import PATIENCE

# The model's own tables: it does not ask the rules that it is there to check.
OPEN = {State.PROCESSING, State.PENDING}
OVER = {State.CANCELED, State.EXPIRED, State.FAILED}
REFUNDABLE = {State.PAID, State.PARTIALLY_REFUNDED}
PAID = {*REFUNDABLE, State.REFUNDED}
_PUBLISHED = {
    State.PENDING: "pending",
    State.PAID: "paid",
    State.PARTIALLY_REFUNDED: "paid",
    State.REFUNDED: "refunded",
    State.CANCELED: "canceled",
    State.EXPIRED: "canceled",
    State.FAILED: "canceled",
}
# Where a simulated payer may lead from each state; PENDING only says that nothing has happened.
_SIMULATED = {
    State.PENDING: {State.PENDING, State.PAID, State.CANCELED, State.FAILED},
    State.CANCELED: {State.CANCELED, State.PAID},
    State.FAILED: {State.FAILED, State.PAID},
    State.PAID: {State.PAID},
}


@dataclass
class ModelBill:
    """What must hold of one bill. Money in tiyn."""

    id: str
    kind: Kind
    sandbox: bool
    amount: int
    phone: str | None
    bank_id: str | None
    key: str | None
    body: dict[str, object]
    answer: bytes
    state: State = State.PENDING
    attention: str | None = None
    refunds: list[int] = field(default_factory=list)

    @property
    def refunded(self) -> int:
        return sum(self.refunds)

    @property
    def available(self) -> int:
        """What a refund may ask for."""
        return self.amount - self.refunded if self.state in REFUNDABLE else 0

    @property
    def shown(self) -> dict[str, object]:
        """The fields of the answer to GET that the model knows."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "is_sandbox": self.sandbox,
            "amount": format_amount(self.amount),
            "state": self.state.value,
            "status": _PUBLISHED[self.state],
            "attention": self.attention,
            "refunded_amount": format_amount(self.refunded),
            "available_for_refund": format_amount(self.available),
            "kaspi_invoice_id": self.bank_id,
        }

    def pay(self) -> None:
        """The money was taken: late truth is allowed, and flagged."""
        assert self.state in OPEN | OVER
        self.attention = "paid_after_close" if self.state in OVER else self.attention
        self.state = State.PAID

    def give_back(self, amount: int) -> None:
        """A refund is completed."""
        assert 0 < amount <= self.available
        self.refunds.append(amount)
        self.state = State.REFUNDED if self.refunded == self.amount else State.PARTIALLY_REFUNDED

    def can_be(self, state: State) -> bool:
        """Whether a simulated payer may lead there."""
        return state in _SIMULATED.get(self.state, set())


def tenge(tiyn: int) -> msgspec.Raw:
    """A JSON number with two decimals, never a float."""
    return msgspec.Raw(format_amount(tiyn).encode())


class Door:
    """A merchant's key, used synchronously."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", headers={"X-API-Key": key}, trust_env=False, timeout=60)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **params: str | int) -> Any:
        answer = self._client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: dict[str, object] | None = None, key: str | None = None) -> httpx.Response:
        headers = {"Content-Type": "application/json"} | ({} if key is None else {"Idempotency-Key": key})
        return self._client.post(path, content=b"" if body is None else msgspec.json.encode(body), headers=headers)

    def until(self, look: Callable[[], bool], what: str) -> None:
        """Returns when `look` is true; AssertionError naming `what` if it is not in time."""
        ends = time.monotonic() + PATIENCE
        while not look():
            assert time.monotonic() < ends, f"waited {PATIENCE:.0f} s for {what}"
            time.sleep(0.05)
