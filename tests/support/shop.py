"""A merchant of its own in the running system: keys, a bank connection, and what tests ask about its bills."""

import itertools
import random
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine
from db.inspection import Inspected, Inspection
from db.registry import Registry
from dev.seed import DEMO_BIN
from domain.bank import Scheme
from domain.bin import valid_bin
from domain.merchant import Mode
from domain.scenarios import MAGIC_VALUES
from kaspi.config import KaspiConfig
from operations.connections import ConnectionPlan, connect_bank
from operations.keys import add_key, add_merchant
from runtime import settings as conf
from runtime.secrets import SealBox
from runtime.task_queues import TaskQueues
from runtime.temporal import connect
from tests.support.stack import Stack
from tests.support.waiting import until
from workflows.client import Engine

_numbers = itertools.count(random.randrange(1_000_000, 8_000_000))
# Every phone that tests gave to the system: none of them may stand in a log.
USED_PHONES: set[str] = set()


def fresh_phone() -> str:
    """A mobile number nobody else in this run has."""
    number = next(one for one in _numbers if one % 10_000 > len(MAGIC_VALUES))  # no magic value
    phone = f"7701{number:07d}"
    USED_PHONES.add(phone)
    return phone


def fresh_key() -> str:
    """An idempotency key nobody else in this run has."""
    return f"key-{next(_numbers)}"


def _fresh_bin() -> str:
    while True:
        stem = f"2101400{next(_numbers) % 10_000:04d}"
        for digit in range(10):
            if valid_bin(stem + str(digit)) and stem + str(digit) != DEMO_BIN:
                return stem + str(digit)


@dataclass
class Shop:
    """A merchant; `live` and `test` speak as it."""

    stack: Stack
    merchant_id: str
    bin: str
    live: httpx.AsyncClient
    test: httpx.AsyncClient
    pool: AsyncEngine
    connection_id: str | None

    async def bill(self, **fields: object) -> dict[str, Any]:
        """A live phone invoice, which must come to be."""
        body = {"amount": 1500, "phone_number": fresh_phone(), **fields}
        return _made(await self.live.post("/api/v1/invoices", json=body))

    async def qr(self, **fields: object) -> dict[str, Any]:
        """A live QR (or link, by `kind`), which must come to be."""
        return _made(await self.live.post("/api/v1/qr", json={"amount": 1500, **fields}))

    async def sandbox_bill(self, **fields: object) -> dict[str, Any]:
        body = {"amount": 1500, "phone_number": fresh_phone(), **fields}
        return _made(await self.test.post("/api/v1/invoices", json=body))

    async def simulate(self, invoice_id: str, status: str) -> httpx.Response:
        return await self.test.post(f"/api/v1/sandbox/invoices/{invoice_id}/simulate", json={"status": status})

    async def repeat_until_made(self, body: dict[str, object], key: str) -> httpx.Response:
        """What a merchant does after an error that says "repeat with the same key"."""

        async def ask() -> httpx.Response | None:
            try:
                answer = await self.live.post("/api/v1/invoices", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                return None
            assert answer.status_code in {201, 503}, answer.text
            return answer if answer.status_code == 201 else None

        made = await until(ask, "the bill")
        assert made is not None
        return made

    async def read(self, invoice_id: str) -> dict[str, Any]:
        answer = await self.live.get(f"/api/v1/invoices/{invoice_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def check(self, *ids: str) -> dict[str, Any]:
        """`status/check`: the poller looks at once."""
        answer = await self.live.post("/api/v1/invoices/status/check", json={"ids": list(ids)})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def until_state(self, invoice_id: str, state: str) -> dict[str, Any]:
        """The invoice once it is in `state`, with the poller asked again and again."""

        async def look() -> dict[str, Any] | None:
            answer = await self.live.post("/api/v1/invoices/status/check", json={"ids": [invoice_id]})
            found = answer.json()["items"][0]["invoice"] if answer.status_code == 200 else None
            return found if found and found["state"] == state else None

        found = await until(look, f"{invoice_id} to be {state}")
        assert found is not None
        return found

    async def inspect(self, invoice_id: str) -> Inspected:
        """What operators see of the invoice."""
        found = await Inspection(self.pool).invoice(invoice_id)
        assert found is not None
        return found

    async def settled(self, invoice_id: str) -> Inspected:
        """The same once no webhook about the invoice is on its way any more."""

        async def look() -> Inspected | None:
            found = await self.inspect(invoice_id)
            return None if any(one.state == "pending" for one in found.told) else found

        found = await until(look, f"the webhooks of {invoice_id}")
        assert found is not None
        return found

    async def purchases(self, *, phone: str | None = None, external_id: str | None = None) -> list[dict[str, Any]]:
        """What the bank's own books say."""
        wanted = {"phone": phone, "external_id": external_id}
        return await self.stack.emulator.purchases(**{name: value for name, value in wanted.items() if value})

    async def pay(self, invoice: dict[str, Any]) -> None:
        """The payer pays at the bank."""
        await self.stack.emulator.act(invoice["kaspi_invoice_id"], "pay")

    async def listed(self, **params: str | int) -> list[dict[str, Any]]:
        """One page of the live key's list."""
        answer = await self.live.get("/api/v1/invoices", params={"page_size": 100, **params})
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def open_workflows(self) -> int | None:
        """How many of this merchant's invoices Temporal still works on; None if it did not say so in time."""
        query = f"TolemMerchant = '{self.merchant_id}' and WorkflowType = 'invoice' and ExecutionStatus = 'Running'"
        said = await self.stack.system.temporal.ask("workflow", "count", "--query", query)
        return int(said.split(b"Total:")[1].split()[0]) if b"Total:" in said else None


def _made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def open_shop(stack: Stack, name: str, *, scheme: Scheme | None = Scheme.R3) -> Shop:
    """A new merchant, linked to the emulated bank by `scheme` unless that is None. Call `close_shop` in the end."""
    settings = conf.load(
        conf.OperatorDatabase, conf.Keys, conf.Temporal, conf.Worker, environ=stack.system.operator_environment()
    )
    pool = create_engine(settings[conf.OperatorDatabase].url.reveal(), pool_size=1)
    registry = Registry(pool)
    merchant = await add_merchant(registry, name, _fresh_bin())
    keys = {mode: await add_key(registry, merchant.id, mode, f"{name} {mode}") for mode in Mode}
    connection_id = None
    if scheme is not None:
        plan = await _connection_plan(stack, merchant.id, merchant.bin, scheme)
        connection_id = (await connect_bank(registry, SealBox(settings[conf.Keys].seal), plan)).id
        client = await connect(settings[conf.Temporal], settings[conf.Keys].payload)
        queues = TaskQueues(settings[conf.Worker].task_queue_prefix)
        await Engine(client, queues).watch_connection(merchant.id, connection_id)
    return Shop(
        stack=stack,
        merchant_id=merchant.id,
        bin=merchant.bin,
        live=client_of(stack, keys[Mode.LIVE]),
        test=client_of(stack, keys[Mode.TEST]),
        pool=pool,
        connection_id=connection_id,
    )


async def close_shop(shop: Shop) -> None:
    await shop.live.aclose()
    await shop.test.aclose()
    await shop.pool.dispose()


def client_of(stack: Stack, api_key: str) -> httpx.AsyncClient:
    """A client that speaks with this key; room for many requests at once."""
    return httpx.AsyncClient(
        base_url=stack.system.api_url,
        headers={"X-API-Key": api_key},
        trust_env=False,
        timeout=60,
        limits=httpx.Limits(max_connections=100),
    )


async def _connection_plan(stack: Stack, merchant_id: str, bin_: str, scheme: Scheme) -> ConnectionPlan:
    organization = {"bin": bin_, "name": f"Shop {bin_}", "trade_points": ["Till"]}
    # On r2 the certificate alone names the organisation, so there each shop would need its own; r1 and r3 do not.
    known = await stack.emulator.call("POST", "organizations", organization)
    folder = stack.system.layout.certificates
    mutual = scheme is not Scheme.R1
    config = KaspiConfig(
        scheme=scheme,
        base_url=f"{stack.system.bank_url}/{scheme}/v01",
        organization_bin=bin_ if scheme is Scheme.R3 else None,
        api_key=None if mutual else known["api_key"],
        certificate_pem=(folder / "client.pem").read_text() if mutual else None,
        private_key_pem=(folder / "client.key").read_text() if mutual else None,
        trust_pem=(folder / "ca.pem").read_text(),
    )
    return ConnectionPlan(merchant_id=merchant_id, device_id=f"till-{bin_}", config=config)
