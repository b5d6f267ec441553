"""The process itself: what survives a kill, how it stops, how much it carries."""

import asyncio
import signal
import ssl
from pathlib import Path

import httpx
import pytest

from tests.emulator.process import BIN, DROPPED, PATIENCE, Admin, Bank, Running, code, ok, running


def test_everything_survives_kill_9(certificates: Path, tmp_path: Path) -> None:
    state = str(tmp_path / "bank.sqlite")
    with running(state, certificates, "--time-scale", "0.5") as first:
        bank, admin = Bank(first, "r3", "client"), Admin(first)
        token = bank.register()
        waiting, paid = (
            ok(bank.post("remote/create", Amount=7, PhoneNumber="87011234567", DeviceToken=token))["QrPaymentId"]
            for _ in range(2)
        )
        admin.post(f"purchases/{paid}/pay")
        ok(bank.post("payment/return", QrPaymentId=paid, Amount=3, DeviceToken=token))
        admin.fault("payment/details", "code", code=-999, times=None)
        admin.settings(latency_ms=1)
        bank.word(paid)
        books, log = admin.get("ledger"), admin.get("calls")
        admin.fault("remote/create", "execute_then_drop")
        with pytest.raises(DROPPED):
            bank.post("remote/create", Amount=8, PhoneNumber="87011234567", DeviceToken=token)
        first.kill9()
        bank.http.close()
        admin.http.close()
    with running(state, certificates) as second:
        bank, admin = Bank(second, "r3", "client"), Admin(second)
        after = admin.get("ledger")
        assert [one["amount"] for one in after["purchases"]] == ["7.00", "7.00", "8.00"]
        assert after["purchases"][:2] == books["purchases"]
        assert after["refunds"] == books["refunds"]
        assert admin.get("calls")["calls"][:-1] == log["calls"]
        assert admin.get("calls")["counts"]["remote/create"] == 3
        assert (admin.get("settings")["latency_ms"], admin.get("settings")["time_scale"]) == (1, 0.5)
        assert [fault["remaining"] for fault in admin.get("faults")["faults"]] == [None, 0]
        assert bank.word(waiting) == "RemotePaymentCreated"
        assert code(bank.get("payment/details", QrPaymentId=paid, DeviceToken=token)) == -999
        later = ok(bank.post("remote/create", Amount=9, PhoneNumber="87011234567", DeviceToken=token))
        assert later["QrPaymentId"] > after["purchases"][-1]["id"]
        bank.http.close()
        admin.http.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_at_once_with_0_even_in_the_middle_of_a_call(certificates: Path, number: signal.Signals) -> None:
    with running(":memory:", certificates) as process:
        admin, bank = Admin(process), Bank(process, "r3", "client")
        admin.fault("health/ping", "delay", delay_ms=600_000)
        with pytest.raises(httpx.ReadTimeout):
            bank.http.get("v01/health/ping", timeout=httpx.Timeout(PATIENCE, read=0.2))
        assert process.stop(number) == 0
        admin.http.close()
        bank.http.close()


def test_certificates_are_made_at_start_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "certs"
    with running(":memory:", folder) as process:
        made = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert {"ca.pem", "server.pem", "server.key", "client.pem", "client.key", "client.pfx"} <= set(made)
        assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}
        process.kill9()
    with running(":memory:", folder):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == made


async def test_hundred_payers_at_once_are_all_booked(shared: Running, admin: Admin, r3: Bank) -> None:
    token = r3.register()
    admin.settings(latency_ms=20)
    context = ssl.create_default_context(cafile=shared.certificates / "ca.pem")
    context.load_cert_chain(shared.certificates / "client.pem", shared.certificates / "client.key")
    body = {"OrganizationBin": BIN, "Amount": 1, "PhoneNumber": "87011234567", "DeviceToken": token}
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(verify=context, trust_env=False, limits=limits, timeout=PATIENCE) as http:

        async def create() -> int:
            answer = await http.post(f"{shared.bank_url}/r3/v01/remote/create", json=body)
            return int(ok(answer)["QrPaymentId"])

        made = await asyncio.gather(*(create() for _ in range(100)))
    assert len(set(made)) == 100
    assert sorted(made) == [one["id"] for one in admin.purchases()]
