"""The emulated bank as a process, and its admin API: the judge of what was done with money."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from dev.migrations import ROOT
from dev.ports import free_port
from dev.process import Command, ManagedProcess
from dev.system import answers
from tests.support.waiting import until


class EmulatorAdmin:
    """The admin API (emulator/README.md). Every method raises `httpx.HTTPStatusError` for an answer that is not 2xx."""

    def __init__(self, url: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)

    async def close(self) -> None:
        await self.client.aclose()

    async def call(self, method: str, path: str, body: object = None, **params: str) -> Any:
        answer = await self.client.request(method, f"/emulator/{path}", json=body, params=params)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def ledger(self, **filters: str) -> dict[str, Any]:
        """`purchases`, `refunds`, `totals`; filters: phone, comment_contains, external_id."""
        found: dict[str, Any] = await self.call("GET", "ledger", **filters)
        return found

    async def purchases(self, **filters: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.ledger(**filters))["purchases"]
        return found

    async def act(self, purchase_id: int | str, deed: str, *, late: bool = False) -> Any:
        """scan, confirm, pay, fail, reject or expire; `late` pays what is already over."""
        return await self.call("POST", f"purchases/{purchase_id}/{deed}", **({"late": "true"} if late else {}))

    async def fault(self, call: str, fault: str, times: int | None = 1, **knobs: object) -> Any:
        return await self.call("POST", "faults", {"call": call, "fault": fault, "times": times, **knobs})

    async def until_hit(self, calls: int = 1) -> None:
        """Returns once faults have met so many calls. A delayed one is then at the bank, which goes on with it whatever
        becomes of us.
        """

        async def hit() -> bool:
            hits: int = sum(fault["hits"] for fault in (await self.call("GET", "faults"))["faults"])
            return hits >= calls

        await until(hit, "the call to reach the bank")

    async def clear_faults(self) -> None:
        await self.call("DELETE", "faults")

    async def change(self, settings: Mapping[str, object]) -> None:
        await self.call("PUT", "settings", dict(settings))


class EmulatorServer:
    """`python -m emulator` over a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.bank_port, self.admin_port = free_port(), free_port()
        self.certificates = folder / "certificates"
        self.admin = EmulatorAdmin(f"http://127.0.0.1:{self.admin_port}")
        self._folder = folder
        self._process: ManagedProcess | None = None

    @property
    def bank_url(self) -> str:
        """HTTPS origin, without the scheme prefix (/r1/v01 …)."""
        return f"https://127.0.0.1:{self.bank_port}"

    async def start(self) -> None:
        ports = ("--bank-port", str(self.bank_port), "--admin-port", str(self.admin_port))
        files = ("--state", str(self._folder / "emulator.sqlite"), "--certs", str(self.certificates))
        command = Command(name="emulator", argv=(sys.executable, "-m", "emulator", *ports, *files), env={}, cwd=ROOT)
        log = self._folder / "emulator.log"
        with log.open("ab") as output:
            self._process = await ManagedProcess.start(command, output)
        while not await answers(f"http://127.0.0.1:{self.admin_port}/emulator/health"):
            if self._process.returncode is not None:
                raise RuntimeError("the emulator ended:\n" + log.read_text())
            await asyncio.sleep(0.05)

    async def kill9(self) -> None:
        if self._process:
            await self._process.kill9()

    async def stop(self) -> None:
        await self.admin.close()
        if self._process:
            await self._process.stop()
