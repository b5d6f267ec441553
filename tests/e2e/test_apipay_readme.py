"""A script that was written from ApiPay's published documentation alone, and the curl lines of its README."""

import asyncio
import json
import re
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from dev.migrations import ROOT
from tests.support.shop import Shop, fresh_phone

pytestmark = pytest.mark.stack

README = (ROOT / "../shared/contracts/apipay-readme.ru.md").resolve()
HOST = "https://bpapi.bazarbay.site"
_BASH = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def played(shop: Shop, mode: str) -> str:
    """The script's whole output; whoever it waits for pays."""
    api = shop.live if mode == "live" else shop.test
    script = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples" / "apipay_readme.py")),
        env={
            "APIPAY_URL": f"{shop.stack.system.api_url}/api",
            "API_KEY": api.headers["x-api-key"],
            "PHONE": f"8{fresh_phone()[1:]}",
            "IDN": shop.bin,
            "PYTHONIOENCODING": "utf-8",
        },
        stdout=PIPE,
        stderr=STDOUT,
    )
    assert script.stdout is not None
    said = []
    try:
        async for line in script.stdout:
            said.append(line.decode())
            if line.startswith(b"created "):
                number, bank_id = line.split()[1:3]
                made = (await api.get(f"/api/invoices/{number.decode()}")).json()
                if mode == "live":
                    await shop.stack.emulator.act(bank_id.decode(), "pay")
                    await shop.until_state(made["tolem_id"], "paid")
                else:
                    assert (await shop.simulate(made["tolem_id"], "paid")).status_code == 200
        code = await script.wait()
    finally:
        if script.returncode is None:
            script.kill()
            await script.wait()
    assert code == 0, "".join(said)
    return "".join(said)


@pytest.mark.parametrize("mode", ["live", "test"])
async def test_a_script_written_from_the_readme_runs_unchanged(shop: Shop, mode: str) -> None:
    said = await played(shop, mode)
    assert said.splitlines()[-1] == "done"
    for step in ("verified", "created", "paid", "refunded", "cancelled", "mistakes"):
        assert f"\n{step} " in f"\n{said}"


async def test_the_readme_s_curl_lines_run_with_only_host_and_key_replaced(shop: Shop, tmp_path: Path) -> None:
    if not README.exists():
        pytest.skip("THE README'S CURL LINES WERE NOT RUN: it is not beside the repository")
    if shutil.which("curl") is None:
        pytest.skip("THE README'S CURL LINES WERE NOT RUN: there is no curl")
    lines = [one for one in _BASH.findall(README.read_text(encoding="utf-8")) if "curl" in one]
    assert lines
    for line in lines:
        ours = line.replace(HOST, shop.stack.system.api_url).replace("YOUR_API_KEY", shop.test.headers["x-api-key"])
        assert ours != line
        done = await asyncio.create_subprocess_exec(
            "bash", "-c", f"set -e; {ours.strip()} --silent --noproxy '*'", cwd=tmp_path, stdout=PIPE, stderr=STDOUT
        )
        said, _ = await done.communicate()
        assert done.returncode == 0, said
        invoice = json.loads(said)
        assert isinstance(invoice["id"], int)
        assert (invoice["status"], bool(invoice["payment_url"])) == ("pending", True)
