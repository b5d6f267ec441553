"""Open payments for the second scenario: made over the API, paid in the bank, heard of by webhook."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec

from bench.stack import BenchStack
from bench.wire import BadAnswer, Connection
from dev.receiver import Received, WebhookReceiver

_AT_ONCE = 16


class Payment(msgspec.Struct, kw_only=True):
    """One bill: our id, the bank's, and when the bank had taken the money."""

    kind: str
    invoice_id: str
    bank_id: int
    paid_at: datetime | None = None


class Shop:
    """The demo merchant's side: opens bills, asks for checks. `failures` counts what went wrong, by what."""

    def __init__(self, stack: BenchStack) -> None:
        self.failures: Counter[str] = Counter()
        self._stack = stack
        self._headers = {"X-API-Key": stack.system.secrets.live_key}
        self._numbers = count(1)

    async def register(self, url: str) -> None:
        """Webhooks of live bills go to `url`."""
        async with self._api() as api:
            await api.json("POST", "/api/v1/webhooks", {"url": url, "events": ["*"]}, expected=201)

    async def open(self, kind: str, number: int) -> list[Payment]:
        """Opens `number` bills of a kind, 16 at a time; gives those that the bank knows."""
        share = [number // _AT_ONCE + (lane < number % _AT_ONCE) for lane in range(_AT_ONCE)]
        lanes = await asyncio.gather(*(self._open_some(kind, some) for some in share))
        return [payment for lane in lanes for payment in lane]

    async def check(self, payment: Payment) -> None:
        """The merchant's own "look now"."""
        try:
            async with self._api() as api:
                await api.json("POST", "/api/v1/invoices/status/check", {"ids": [payment.invoice_id]})
        except (OSError, BadAnswer) as error:
            self.failures[f"status check: {error}"] += 1

    async def _open_some(self, kind: str, number: int) -> list[Payment]:
        opened = []
        async with self._api() as api:
            for _ in range(number):
                try:
                    opened.append(await self._open_one(api, kind))
                except (OSError, BadAnswer) as error:
                    self.failures[f"opening a {kind} bill: {error}"] += 1
        return opened

    async def _open_one(self, api: Connection, kind: str) -> Payment:
        number = next(self._numbers)
        if kind == "phone":
            wanted = {"amount": 100, "phone_number": f"7701{number:07d}"}
            made = await api.json("POST", "/api/v1/invoices", wanted, expected=201)
        else:
            made = await api.json("POST", "/api/v1/qr", {"amount": 100}, expected=201)
        if made["kaspi_invoice_id"] is None:
            raise BadAnswer(f"created as {made['state']}, without the bank's number")
        return Payment(kind=kind, invoice_id=made["id"], bank_id=int(made["kaspi_invoice_id"]))

    def _api(self) -> Connection:
        return Connection(self._stack.system.api_url, self._headers)


class Payer:
    """Everybody's finger in the bank's app, and the bank's own log."""

    def __init__(self, stack: BenchStack) -> None:
        self._url = stack.system.emulator_url

    async def bank_takes(self, latency_ms: int) -> None:
        """From now on every call of the bank takes so long."""
        async with Connection(self._url) as bank:
            await bank.json("PUT", "/emulator/settings", {"latency_ms": latency_ms})

    async def pay(self, payment: Payment) -> None:
        """Pays; `BadAnswer` when the bank says that it is too late."""
        async with Connection(self._url) as bank:
            await bank.json("POST", f"/emulator/purchases/{payment.bank_id}/pay")
        payment.paid_at = datetime.now(UTC)

    async def calls(self, since: datetime) -> list[dict[str, Any]]:
        """Status calls since a moment, of the latest 20,000 calls of any kind."""
        when = since.isoformat().replace("+00:00", "Z")
        async with Connection(self._url) as bank:
            answer = await bank.json("GET", f"/emulator/calls?call=payment/status&since={when}")
        found: list[dict[str, Any]] = answer["calls"]
        return found


class Inbox:
    """First arrivals of "paid" by invoice, read from what a receiver has heard."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver
        self._read = 0
        self.arrived: dict[str, datetime] = {}
        self.repeated: Counter[str] = Counter()

    async def wait_for(self, payments: Iterable[Payment], seconds: float) -> None:
        """Returns when all have been heard of, or the time is over."""
        wanted = {payment.invoice_id for payment in payments}
        ends = asyncio.get_running_loop().time() + seconds
        while not wanted <= self._heard():
            if asyncio.get_running_loop().time() > ends:
                return
            await asyncio.sleep(0.1)

    def _heard(self) -> set[str]:
        fresh = self._receiver.requests[self._read :]
        self._read += len(fresh)
        for request in fresh:
            self._note(request)
        return set(self.arrived)

    def _note(self, request: Received) -> None:
        about = msgspec.json.decode(request.body)["data"]["object"]
        if about.get("state") != "paid":
            return
        if about["id"] in self.arrived:
            self.repeated[about["id"]] += 1
        else:
            self.arrived[about["id"]] = request.at
