"""`make demo`: one bill's whole story, told in the terminal against the running system."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dev.banner import Addresses, read_addresses
from dev.layout import Layout
from dev.migrations import ROOT
from dev.private_file import write_private
from dev.receiver import Received, WebhookReceiver
from runtime.leave import leave
from webhooks.errors import SignatureMismatch
from webhooks.signing import verify

_WAIT_SECONDS = 60.0
_AMOUNT = "10000.00"


class DemoFailed(Exception):
    """A step did not go as promised; the text says how."""


class Endpoint(msgspec.Struct, frozen=True):
    """The demo's webhook endpoint: kept, so that demos do not pile up endpoints nobody listens at."""

    id: str
    url: str
    secret: str


class Demo:
    """The story's state between its steps. Each step returns the line that tells what happened."""

    def __init__(
        self,
        addresses: Addresses,
        api: httpx.AsyncClient,
        bank: httpx.AsyncClient,
        receiver: WebhookReceiver,
        kept: Path,
    ) -> None:
        self._addresses = addresses
        self._api = api
        self._bank = bank
        self._receiver = receiver
        self._kept = kept
        self._secret = ""
        self._invoice: dict[str, Any] = {}

    def steps(self) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
        return [
            ("Register a webhook endpoint", self.register),
            ("Create a bill for a phone number", self.create),
            ("The payer sees it in the Kaspi app", self.arrive),
            ("The payer pays", self.pay),
            ("The webhook arrives", self.hear),
            ("Read the status back", self.read_back),
        ]

    async def register(self) -> str:
        known = await _json(self._api.get("/api/v1/webhooks"), 200)
        if self._kept.exists():
            endpoint = msgspec.json.decode(self._kept.read_bytes(), type=Endpoint)
            if endpoint.url == self._receiver.url and endpoint.id in json.dumps(known):
                self._secret = endpoint.secret
                return f"{endpoint.id} of an earlier demo → {endpoint.url}"
        wanted = {"url": self._receiver.url, "events": ["invoice.status_changed"]}
        made = await _json(self._api.post("/api/v1/webhooks", json=wanted), 201)
        endpoint = Endpoint(made["id"], self._receiver.url, made["secret"])
        write_private(self._kept, msgspec.json.encode(endpoint).decode())
        self._secret = endpoint.secret
        return f"{endpoint.id} → {endpoint.url}"

    async def create(self) -> str:
        wanted = {"amount": 10000, "phone_number": "77011234567", "description": "Demo: order 1042"}
        key = {"Idempotency-Key": f"demo-{uuid4()}"}
        self._invoice = await _json(self._api.post("/api/v1/invoices", json=wanted, headers=key), 201)
        return f"{self._invoice['id']}, {self._invoice['amount']} ₸, {self._invoice['status']}"

    async def arrive(self) -> str:
        async with _patience("the bank has no such bill"):
            while not self._invoice.get("kaspi_invoice_id"):
                self._invoice = await self._read()
                await asyncio.sleep(0.2)
        purchase = await _json(self._bank.get(f"/emulator/purchases/{self._bank_id}"), 200)
        if purchase["amount_tiyn"] != 1_000_000:
            raise DemoFailed(f"the bank has {purchase['amount']} on the bill, not {_AMOUNT}")
        return f"bank's number {self._bank_id}, {purchase['amount']} ₸ (see {self._addresses.emulator})"

    async def pay(self) -> str:
        purchase = await _json(self._bank.post(f"/emulator/purchases/{self._bank_id}/pay"), 200, 201)
        return f"the bank says {purchase.get('status', 'paid')}"

    async def hear(self) -> str:
        try:
            requests = await self._receiver.wait_for(self._tells_of_payment, seconds=_WAIT_SECONDS)
        except TimeoutError:
            raise DemoFailed(f"no webhook within {_WAIT_SECONDS:.0f} s, though the bill was paid") from None
        request = requests[0]
        try:
            verify(self._secret, request.headers, request.body, datetime.now(UTC), timedelta(minutes=5))
        except SignatureMismatch as problem:
            raise DemoFailed(f"the webhook's signature is wrong: {problem}") from None
        return f"{request.headers['webhook-id']}, signature verified"

    async def read_back(self) -> str:
        self._invoice = await self._read()
        if self._invoice["status"] != "paid" or self._invoice["amount"] != _AMOUNT:
            raise DemoFailed(f"the bill reads {self._invoice['status']}, {self._invoice['amount']} ₸")
        return f"{self._invoice['id']} is {self._invoice['status']}, {self._invoice['amount']} ₸"

    @property
    def _bank_id(self) -> str:
        return str(self._invoice["kaspi_invoice_id"])

    async def _read(self) -> dict[str, Any]:
        return await _json(self._api.get(f"/api/v1/invoices/{self._invoice['id']}"), 200)

    def _tells_of_payment(self, request: Received) -> bool:
        return self._invoice["id"].encode() in request.body and b'"paid"' in request.body


@asynccontextmanager
async def _patience(otherwise: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            yield
    except TimeoutError:
        raise DemoFailed(f"{otherwise} after {_WAIT_SECONDS:.0f} s") from None


async def _json(call: Awaitable[httpx.Response], *expected: int) -> dict[str, Any]:
    try:
        answer = await call
    except httpx.HTTPError as problem:
        raise DemoFailed(f"no answer ({type(problem).__name__}); is `make up` still running?") from None
    if answer.status_code not in expected:
        raise DemoFailed(
            f"{answer.request.method} {answer.request.url.path} → {answer.status_code}: {answer.text[:300]}"
        )
    body: dict[str, Any] = answer.json()
    return body


async def run(state_dir: Path, console: Console) -> int:
    """Tells the story; the exit code: 0, or 1 if a step failed."""
    layout = Layout(state_dir)
    if not layout.addresses.exists():
        console.print("The system is not running here: start it with `make up` in another terminal.")
        return 1
    addresses = read_addresses(layout.addresses)
    receiver = WebhookReceiver()
    try:
        await receiver.start(addresses.demo_receiver_port)
    except OSError:
        console.print(f"Port {addresses.demo_receiver_port}, where the demo listens, is taken (another demo?).")
        return 1
    key = {"X-API-Key": addresses.live_key}
    async with (
        httpx.AsyncClient(base_url=addresses.api, headers=key, trust_env=False, timeout=30) as api,
        httpx.AsyncClient(base_url=addresses.emulator, trust_env=False, timeout=30) as bank,
    ):
        try:
            return await _tell(Demo(addresses, api, bank, receiver, state_dir / "demo.json"), console)
        finally:
            await receiver.stop()


async def _tell(demo: Demo, console: Console) -> int:
    # What is told stays as plain lines above; the progress display shows only the step that runs.
    columns = SpinnerColumn(), TextColumn("{task.description} …"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        for number, (title, step) in enumerate(demo.steps(), 1):
            task = progress.add_task(f"{number}. {title}", total=None)
            try:
                told = await step()
            except DemoFailed as problem:
                console.print(f"[red]✗[/] {number}. {title}")
                console.print(str(problem), style="red", markup=False, soft_wrap=True)
                return 1
            progress.remove_task(task)
            console.print(f"[green]✓[/] {number}. {title}\n     [cyan]{escape(told)}[/]", soft_wrap=True)
    return 0


def main() -> None:
    leave(asyncio.run(run(ROOT / ".tolem", Console(highlight=False))))


if __name__ == "__main__":
    main()
