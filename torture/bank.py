"""The bank's admin side: payers' fingers, faults, and the ledger that judges everybody."""

from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec

from torture.evidence import BankBill, BankCall, BankRefund, Done

_CONFLICT = 409


class TorturedBank:
    """The emulator. `done` is what payers and cashiers really did."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)
        self.done: list[Done] = []

    @property
    def paid(self) -> list[int]:
        """Purchases that payers paid for."""
        return [one.purchase_id for one in self.done if one.deed in {"pay", "confirm", "late"}]

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def change(self, settings: dict[str, object]) -> None:
        """Turns the bank's knobs."""
        await self._call("PUT", "settings", settings)

    async def fault(self, spec: dict[str, object]) -> None:
        """Something is going to go wrong (emulator/README.md, "Faults")."""
        await self._call("POST", "faults", spec)

    async def heal(self) -> None:
        """No faults any more."""
        await self._call("DELETE", "faults")
        await self.change({"refund_lag_s": 0.0, "latency_ms": 0})

    async def act(self, purchase_id: int, deed: str) -> bool:
        """The payer's finger: scan, confirm, pay, reject, expire, or late (pays what is over). False: too late."""
        late = deed == "late"
        path = f"purchases/{purchase_id}/{'pay' if late else deed}"
        if await self._call("POST", path, params={"late": "true"} if late else None) is None:
            return False
        self.done.append(Done(purchase_id=purchase_id, deed=deed, at=datetime.now(UTC)))
        return True

    async def till(self, purchase_id: int, amount: int) -> bool:
        """A cashier gives `amount` tiyn back in the bank's own app. False: not paid, or more than is left."""
        given = await self._call(
            "POST", f"purchases/{purchase_id}/refund", {"amount": f"{amount // 100}.{amount % 100:02d}"}
        )
        if given is None:
            return False
        self.done.append(Done(purchase_id=purchase_id, deed="cashier", at=datetime.now(UTC)))
        return True

    async def bills_to(self, phone: str) -> list[BankBill]:
        """What the payer with this phone sees in the bank's app."""
        return msgspec.convert(
            (await self._call("GET", "ledger", params={"phone": phone}))["purchases"], list[BankBill]
        )

    async def ledger(self) -> tuple[list[BankBill], list[BankRefund]]:
        """Everything the bank has booked."""
        whole = await self._call("GET", "ledger")
        return msgspec.convert(whole["purchases"], list[BankBill]), msgspec.convert(whole["refunds"], list[BankRefund])

    async def spoilt_calls(self) -> list[BankCall]:
        """The calls that a fault hit, of the latest 20,000."""
        calls = (await self._call("GET", "calls"))["calls"]
        return msgspec.convert([call for call in calls if call["fault"] is not None], list[BankCall])

    async def _call(self, method: str, path: str, body: object = None, params: dict[str, str] | None = None) -> Any:
        answer = await self._client.request(method, f"/emulator/{path}", json=body, params=params)
        if answer.status_code == _CONFLICT:
            return None
        answer.raise_for_status()
        return answer.json() if answer.content else {}
