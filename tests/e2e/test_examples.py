"""examples/: each program runs as it stands against the system; its receiver hears on a socket, and is not fooled."""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from dev.migrations import ROOT
from dev.ports import free_port, is_free
from tests.support.shop import Shop
from tests.support.waiting import until

pytestmark = pytest.mark.stack

EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Contract:
    """What its programs print (`told` with the ids of bill and refund to be put in), and what its receiver needs.

    `number` is what the contract calls a bill's id; `signed` are the headers that its receiver checks.
    """

    folder: str
    flow: str
    told: tuple[str, ...]
    endpoint: dict[str, object]
    number: str
    signed: tuple[str, ...]


V1 = Contract(
    folder="v1",
    flow=r"""created (?P<invoice>inv_\w+) 10000\.00 pending
paid (?P=invoice) paid
refunded (?P<refund>ref_\w+) 2500\.00 completed
left 7500\.00 partially_refunded
""",
    told=(
        r"verified evt_\w+ invoice\.status_changed {invoice} paid",
        r"verified evt_\w+ invoice\.refunded {invoice} partially_refunded",
        r"verified evt_\w+ refund\.completed {refund} completed",
    ),
    endpoint={"events": ["invoice.*", "refund.*"]},
    number="id",
    signed=("webhook-id", "webhook-timestamp", "webhook-signature"),
)
APIPAY = Contract(
    folder="apipay",
    flow=r"""created (?P<invoice>\d+) 10000\.00 pending
paid (?P=invoice) paid
refunded (?P<refund>\d+) 2500\.00 completed
total_refunded 2500\.00 paid
""",
    told=(
        r"verified invoice\.status_changed {invoice} paid",
        r"verified invoice\.refunded {invoice} partially_refunded",
    ),
    endpoint={"events": ["invoice.*"], "dialect": "apipay"},
    number="number",
    signed=("x-webhook-signature",),
)
by_contract = pytest.mark.parametrize("contract", [V1, APIPAY], ids=lambda one: one.folder)


@dataclass(frozen=True)
class Language:
    """How a language's programs are called; `needs` is what its interpreter cannot do without."""

    folder: str
    program: str
    suffix: str
    receiver: tuple[str, ...]


LANGUAGES = [
    Language("python", "python3", "py", ("webhook.py",)),
    Language("javascript", "node", "mjs", ("webhook.mjs",)),
    Language("php", "php", "php", ("-S", "127.0.0.1:{port}", "webhook.php")),
]
by_language = pytest.mark.parametrize("language", LANGUAGES, ids=lambda one: one.folder)


def interpreter(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT PROVEN: {name} is missing here, so its examples have not been run")
    return found


def environment(shop: Shop, **more: str) -> dict[str, str]:
    """What the examples read, for a merchant's test key."""
    ours = {"TOLEM_API_URL": str(shop.test.base_url).rstrip("/"), "TOLEM_API_KEY": shop.test.headers["X-API-Key"]}
    return {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **ours, **more}


async def output_of(*argv: str, env: dict[str, str], folder: str = ".") -> str:
    """What a program prints; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=EXAMPLES / folder, env=env, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, said.decode()
    return said.decode()


@dataclass
class Heard:
    """A running receiver: where it listens, and the lines it has printed."""

    url: str
    endpoint_id: str
    lines: list[str] = field(default_factory=list)

    async def read(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.lines.append(line.decode().strip())

    async def wait(self, told: str) -> str:
        """The first line of this form."""

        async def look() -> str | None:
            return next((line for line in self.lines if re.fullmatch(told, line)), None)

        found = await until(look, f"{told} among {self.lines}")
        assert found is not None
        return found


@asynccontextmanager
async def receiving(contract: Contract, language: Language, shop: Shop) -> AsyncIterator[Heard]:
    """The language's receiver, registered as an endpoint; unregistered in the end."""
    program, port = interpreter(language.program), free_port()
    wanted = {"url": f"http://127.0.0.1:{port}/", **contract.endpoint}
    made = (await shop.test.post("/api/v1/webhooks", json=wanted)).json()
    arguments = [one.format(port=port) for one in language.receiver]
    process = await asyncio.create_subprocess_exec(
        program, *arguments, cwd=EXAMPLES / contract.folder / language.folder,
        stdin=DEVNULL, stdout=PIPE, stderr=STDOUT,
        env=environment(shop, WEBHOOK_SECRET=made["secret"], PORT=str(port)),
    )  # fmt: skip
    heard = Heard(str(wanted["url"]), made["id"])
    reading = asyncio.create_task(heard.read(process))
    try:
        await until(lambda: _listens(port, process), "the receiver")
        yield heard
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
        assert (await shop.test.delete(f"/api/v1/webhooks/{made['id']}")).status_code == 204


async def _listens(port: int, process: Process) -> bool:
    assert process.returncode is None, "the receiver ended"
    return not is_free(port)


@by_contract
@by_language
async def test_a_payment_is_made_refunded_and_heard_of(contract: Contract, language: Language, shop: Shop) -> None:
    async with receiving(contract, language, shop) as heard:
        said = await output_of(
            *(interpreter(language.program), f"payment.{language.suffix}"),
            env=environment(shop),
            folder=f"{contract.folder}/{language.folder}",
        )
        done = re.fullmatch(contract.flow, said)
        assert done, said
        for told in contract.told:
            await heard.wait(told.format(**done.groupdict()))


@by_contract
@by_language
async def test_a_receiver_refuses_what_is_not_ours(contract: Contract, language: Language, shop: Shop) -> None:
    async with receiving(contract, language, shop) as heard, httpx.AsyncClient(trust_env=False) as stranger:
        bill = await shop.sandbox_bill()
        await shop.simulate(bill["id"], "paid")
        await heard.wait(contract.told[0].format(invoice=bill[contract.number]))
        to_us = {"object_id": bill["id"], "endpoint_id": heard.endpoint_id}
        [delivery] = (await shop.test.get("/api/v1/webhook-deliveries", params=to_us)).json()["items"]
        sent = await _sent(shop, delivery["id"])
        headers = {name.lower(): value for name, value in sent["attempt_log"][0]["request_headers"].items()}
        signed, body = {name: headers[name] for name in contract.signed}, sent["request_body"].encode()
        before = len(heard.lines)

        for head, content in [({}, body), (signed, body.replace(b"1500", b"1501")), *forged(signed, body)]:
            assert (await stranger.post(heard.url, headers=head, content=content)).status_code == 400, head
        # The request as it was sent is right: what was refused was refused for what was changed.
        assert (await stranger.post(heard.url, headers=signed, content=body)).is_success
        told = contract.told[0].format(invoice=bill[contract.number])

        async def verified() -> list[str]:
            return [line for line in heard.lines[before:] if re.fullmatch(told, line)]

        assert len(await until(verified, "the line of the true request")) == 1


def forged(signed: dict[str, str], body: bytes) -> list[tuple[dict[str, str], bytes]]:
    """The true body under headers that are not quite those that were sent with it."""
    if "x-webhook-signature" in signed:
        digest = signed["x-webhook-signature"].removeprefix("sha256=")
        wrong = (
            "",
            "sha256=",
            digest,
            f"sha256={digest[:-1]}",
            f"sha256={digest[1:]}{digest[0]}",
            f"sha256={'0' * 64}",
        )
        return [({"x-webhook-signature": one}, body) for one in wrong if one != signed["x-webhook-signature"]]
    stale = str(int(signed["webhook-timestamp"]) - 600)
    changes = {"webhook-id": "evt_other", "webhook-timestamp": stale, "webhook-signature": "v1,"}
    return [(signed | {name: value}, body) for name, value in changes.items()]


async def _sent(shop: Shop, delivery_id: str) -> dict[str, Any]:
    """The delivery once its attempt is booked: the receiver may be quicker with its line."""

    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (await shop.test.get(f"/api/v1/webhook-deliveries/{delivery_id}")).json()
        return found if found["attempt_log"] else None

    found = await until(look, "the attempt to be booked")
    assert found is not None
    return found


@by_contract
async def test_the_whole_flow_with_curl(contract: Contract, shop: Shop) -> None:
    interpreter("curl")
    said = await output_of("bash", "curl.sh", env=environment(shop, PORT=str(free_port())), folder=contract.folder)
    created = re.search(r"^created (\w+)$", said, re.MULTILINE)
    assert created, said
    told = (one.format(invoice=created[1], refund=r"ref_\w+") for one in contract.told)
    for line in ("paid paid", "refunded completed", *told):
        assert re.search(f"^{line}$", said, re.MULTILINE), said


SUBSCRIBING = [
    *((one.program, one.folder, f"subscription.{one.suffix}") for one in LANGUAGES),
    ("bash", ".", "subscription.sh"),
]


@pytest.mark.parametrize(("program", "folder", "name"), SUBSCRIBING, ids=str)
async def test_a_subscription_lives_three_months(program: str, folder: str, name: str, shop: Shop) -> None:
    if (await shop.test.get("/api/v1/subscriptions")).status_code == 404:
        pytest.skip("NOT PROVEN: this tree has no subscriptions API yet, so its examples have not been run")
    said = await output_of(interpreter(program), name, env=environment(shop), folder=f"v1/{folder}")
    assert re.match(r"created sub_\w+", said), said
    assert len(re.findall(r"^billed inv_\w+ 10000\.00 paid$", said, re.MULTILINE)) >= 3, said
    assert re.search(r"^canceled (?:sub_\w+ )?canceled$", said, re.MULTILINE), said


RECURRING = r"""created (?P<recurring>\d+) active \d{4}-\d\d-\d\d
billed (?P<invoice>\d+) 10000\.00 pending
paid (?P=invoice) paid
changed (?P=recurring) 12000\.00
pause (?P=recurring) paused
resume (?P=recurring) active
cancel (?P=recurring) cancelled
"""


@pytest.mark.parametrize(("program", "folder", "name"), SUBSCRIBING, ids=str)
async def test_a_recurring_invoice_is_billed_and_kept_up(program: str, folder: str, name: str, shop: Shop) -> None:
    said = await output_of(interpreter(program), name, env=environment(shop), folder=f"apipay/{folder}")
    assert re.fullmatch(RECURRING, said), said
