"""The emulator as a real process, and clients for its two sides."""

import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
BIN = "210140000016"
OTHER_BIN = "210140000105"
API_KEY = "test_6f1d3c52-8a47-4d0b-9b1e-2f5a7c9e0d11"
SHOP, CAFE = 10001, 10002
PATIENCE = 60.0  # seconds; only ends what hangs
DROPPED = (httpx.ReadError, httpx.RemoteProtocolError)  # OpenSSL decides which of the two a reset becomes


class Running:
    """One emulator process; `kill9` and `stop` end it, the folder stays."""

    def __init__(self, state: str, certificates: Path, *more: str) -> None:
        self.certificates = certificates
        command = [sys.executable, "-m", "emulator", "--bank-port", "0", "--admin-port", "0"]
        self.process = subprocess.Popen(
            [*command, "--state", state, "--certs", str(certificates), *more],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        self.process.stdout.close()
        assert words[:3] == ["emulator", "ready:", "bank"], words
        self.bank_url, self.admin_url = words[3], words[5]

    def kill9(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)


class Bank:
    """A partner's client for one scheme. `call` answers the envelope, `data` only of a success."""

    def __init__(self, running: Running, scheme: str, partner: str | None = None, api_key: str | None = None) -> None:
        context = ssl.create_default_context(cafile=running.certificates / "ca.pem")
        if partner is not None:
            pair = running.certificates / f"{partner}.pem", running.certificates / f"{partner}.key"
            context.load_cert_chain(*pair)
        self.http = httpx.Client(
            base_url=f"{running.bank_url}/{scheme}/",
            verify=context,
            trust_env=False,
            timeout=PATIENCE,
            headers={} if api_key is None else {"Api-Key": api_key},
        )
        self.scheme = scheme

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(path if path.startswith("v0") else f"v01/{path}", params=query or None)

    def post(self, path: str, **body: Any) -> httpx.Response:
        if self.scheme == "r3" and not path.startswith("test/"):
            body = {"OrganizationBin": BIN} | body
        return self.http.post(f"v01/{path}", json=body)

    def register(self, device_id: str = "till-1", point: int = SHOP, **more: Any) -> str:
        return str(ok(self.post("device/register", DeviceId=device_id, TradePointId=point, **more))["DeviceToken"])

    def word(self, purchase_id: int) -> str:
        return str(ok(self.get(f"payment/status/{purchase_id}"))["Status"])


class Admin:
    """A client for the admin side; answers decoded JSON."""

    def __init__(self, running: Running) -> None:
        self.http = httpx.Client(base_url=f"{running.admin_url}/emulator/", trust_env=False, timeout=PATIENCE)

    def get(self, path: str, **query: Any) -> Any:
        return self.http.get(path, params=query).raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        return self.http.post(path, json=body or None).raise_for_status().json()

    def settings(self, **changes: Any) -> None:
        self.http.put("settings", json=changes).raise_for_status()

    def fault(self, call: str, fault: str, **more: Any) -> int:
        return int(self.post("faults", call=call, fault=fault, **more)["id"])

    def purchases(self, **query: Any) -> list[dict[str, Any]]:
        return list(self.get("ledger", **query)["purchases"])


def code(answer: httpx.Response) -> int:
    """The StatusCode of a business answer, which always comes with HTTP 200."""
    assert answer.status_code == 200, answer.text
    return int(answer.json()["StatusCode"])


def ok(answer: httpx.Response) -> Any:
    assert code(answer) == 0, answer.text
    return answer.json().get("Data")


@contextmanager
def running(state: str, certificates: Path, *more: str) -> Iterator[Running]:
    process = Running(state, certificates, *more)
    try:
        yield process
    finally:
        process.kill9()
