"""The real parts together: what crash tests stand on, and the demo as a newcomer runs it."""

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from dev import demo
from dev.banner import addresses_of, read_addresses, write_addresses
from dev.system import WORKERS
from tests.support.stack import PARTS, Stack

pytestmark = [pytest.mark.stack, pytest.mark.long]


@pytest.mark.parametrize("part", PARTS)
async def test_a_killed_part_comes_back_and_the_system_serves(stack: Stack, part: str) -> None:
    before = stack.pid(part)

    await stack.kill9(part)
    assert not stack.runs(part)
    await stack.start_part(part)

    assert stack.pid(part) != before
    api = stack.api()
    async with asyncio.timeout(30):
        # The first call after Postgres came back may find its pooled connection dead, and says 503: try again.
        while (await api.get("/api/v1/me")).status_code != 200:  # noqa: ASYNC110 — another process sends no event
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("part", ["api", *WORKERS])
async def test_a_polite_stop_ends_with_0(stack: Stack, part: str) -> None:
    assert await stack.stop_part(part) == 0


async def test_the_demo_tells_its_story_twice_with_one_endpoint(stack: Stack) -> None:
    write_addresses(stack.system)
    assert read_addresses(stack.system.layout.addresses) == addresses_of(stack.system)
    state_dir = stack.system.layout.state_dir
    for _ in range(2):
        out = io.StringIO()
        assert await demo.run(state_dir, Console(file=out, width=200)) == 0, out.getvalue()
        assert "signature verified" in out.getvalue()
    kept = await stack.api().get("/api/v1/webhooks")
    assert kept.text.count(addresses_of(stack.system).api.rsplit(":", 1)[0]) == 1


async def test_the_demo_fails_with_the_reason_when_the_payer_cannot_pay(stack: Stack) -> None:
    write_addresses(stack.system)
    await stack.kill9("emulator")
    out = io.StringIO()
    assert await demo.run(stack.system.layout.state_dir, Console(file=out, width=200)) == 1
    assert "✗" in out.getvalue()


async def test_the_demo_says_what_to_do_when_nothing_runs(tmp_path: Path) -> None:
    out = io.StringIO()
    assert await demo.run(tmp_path, Console(file=out, width=200)) == 1
    assert "make up" in out.getvalue()
