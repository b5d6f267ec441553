"""examples/: each program runs as it stands against the system; its receiver hears on a socket, and is not fooled."""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from dev.migrations import ROOT
from dev.ports import free_port, is_free
from tests.support.shop import Shop
from tests.support.waiting import until

pytestmark = pytest.mark.stack

EXAMPLES = ROOT / "examples" / "v1"
FLOW = r"""created inv_\w+ 10000\.00 pending
paid inv_\w+ paid
refunded ref_\w+ 2500\.00 completed
left 7500\.00 partially_refunded
"""
TOLD = [
    r"verified evt_\w+ invoice\.status_changed inv_\w+ paid",
    r"verified evt_\w+ invoice\.refunded inv_\w+ partially_refunded",
    r"verified evt_\w+ refund\.completed ref_\w+ completed",
]


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
async def receiving(language: Language, shop: Shop) -> AsyncIterator[Heard]:
    """The language's receiver, registered as an endpoint; unregistered in the end."""
    program, port = interpreter(language.program), free_port()
    wanted = {"url": f"http://127.0.0.1:{port}/", "events": ["invoice.*", "refund.*"]}
    made = (await shop.test.post("/api/v1/webhooks", json=wanted)).json()
    arguments = [one.format(port=port) for one in language.receiver]
    process = await asyncio.create_subprocess_exec(
        program, *arguments, cwd=EXAMPLES / language.folder, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT,
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


@by_language
async def test_a_payment_is_made_refunded_and_heard_of(language: Language, shop: Shop) -> None:
    async with receiving(language, shop) as heard:
        said = await output_of(
            interpreter(language.program), f"payment.{language.suffix}", env=environment(shop), folder=language.folder
        )
        assert re.fullmatch(FLOW, said), said
        invoice, refund = re.findall(r"(?:created|refunded) (\w+)", said)
        for told, about in zip(TOLD, (invoice, invoice, refund), strict=True):
            assert about in await heard.wait(told)


@by_language
async def test_a_receiver_refuses_what_is_not_ours(language: Language, shop: Shop) -> None:
    async with receiving(language, shop) as heard, httpx.AsyncClient(trust_env=False) as stranger:
        bill = await shop.sandbox_bill()
        await shop.simulate(bill["id"], "paid")
        await heard.wait(TOLD[0])
        to_us = {"object_id": bill["id"], "endpoint_id": heard.endpoint_id}
        [delivery] = (await shop.test.get("/api/v1/webhook-deliveries", params=to_us)).json()["items"]
        sent = (await shop.test.get(f"/api/v1/webhook-deliveries/{delivery['id']}")).json()
        headers, body = sent["attempt_log"][0]["request_headers"], sent["request_body"].encode()
        signed = {name: headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
        before = len(heard.lines)

        stale = signed | {"webhook-timestamp": str(int(signed["webhook-timestamp"]) - 600)}
        forged = [({}, body), (signed, body.replace(b"1500", b"1501")), (signed | {"webhook-id": "evt_other"}, body),
                  (stale, body), (signed | {"webhook-signature": "v1,"}, body)]  # fmt: skip
        for head, content in forged:
            assert (await stranger.post(heard.url, headers=head, content=content)).status_code == 400, head
        # The request as it was sent is right: what was refused was refused for what was changed.
        assert (await stranger.post(heard.url, headers=signed, content=body)).status_code == 204
        await until(lambda: _has(heard, before + 1), "the line of the true request")
        assert len([line for line in heard.lines[before:] if line.startswith("verified")]) == 1


async def _has(heard: Heard, count: int) -> bool:
    return len(heard.lines) >= count


async def test_the_whole_flow_with_curl(shop: Shop) -> None:
    interpreter("curl")
    said = await output_of("bash", str(EXAMPLES / "curl.sh"), env=environment(shop, PORT=str(free_port())))
    for line in (r"created inv_\w+", "paid paid", "refunded completed", *TOLD):
        assert re.search(f"^{line}$", said, re.MULTILINE), said


SUBSCRIBING = [
    *((one.program, one.folder, f"subscription.{one.suffix}") for one in LANGUAGES),
    ("bash", ".", "subscription.sh"),
]


@pytest.mark.parametrize(("program", "folder", "name"), SUBSCRIBING, ids=str)
async def test_a_subscription_lives_three_months(program: str, folder: str, name: str, shop: Shop) -> None:
    if (await shop.test.get("/api/v1/subscriptions")).status_code == 404:
        pytest.skip("NOT PROVEN: this tree has no subscriptions API yet, so its examples have not been run")
    said = await output_of(interpreter(program), name, env=environment(shop), folder=folder)
    assert re.match(r"created sub_\w+", said), said
    assert len(re.findall(r"^billed inv_\w+ 10000\.00 paid$", said, re.MULTILINE)) >= 3, said
    assert re.search(r"^canceled (?:sub_\w+ )?canceled$", said, re.MULTILINE), said
