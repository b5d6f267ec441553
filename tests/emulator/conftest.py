import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.process import API_KEY, OTHER_BIN, ROOT, Admin, Bank, Running, running


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the command; "other" is a second partner's."""
    folder = tmp_path_factory.mktemp("certs")
    subprocess.run([sys.executable, "-m", "emulator", "certs", folder, "--partner", "other"], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def shared(certificates: Path) -> Iterator[Running]:
    with running(":memory:", certificates) as process:
        yield process


@pytest.fixture(scope="session")
def session_admin(shared: Running) -> Iterator[Admin]:
    client = Admin(shared)
    client.post("organizations", bin=OTHER_BIN, name="Other LLP", trade_points=["Kiosk"], partner_cn="other")
    yield client
    client.http.close()


@pytest.fixture
def admin(session_admin: Admin) -> Iterator[Admin]:
    """The shared emulator's admin side: empty books and default settings before each test."""
    session_admin.post("reset")
    before = session_admin.get("settings")
    yield session_admin
    session_admin.settings(**before)


def _bank(shared: Running, scheme: str, partner: str | None, api_key: str | None = None) -> Iterator[Bank]:
    client = Bank(shared, scheme, partner, api_key)
    yield client
    client.http.close()


@pytest.fixture
def r1(shared: Running, admin: Admin) -> Iterator[Bank]:
    yield from _bank(shared, "r1", None, API_KEY)


@pytest.fixture
def r2(shared: Running, admin: Admin) -> Iterator[Bank]:
    yield from _bank(shared, "r2", "client")


@pytest.fixture
def r3(shared: Running, admin: Admin) -> Iterator[Bank]:
    yield from _bank(shared, "r3", "client")


@pytest.fixture
def other(shared: Running, admin: Admin) -> Iterator[Bank]:
    """Another partner on r3, who owns another organisation."""
    yield from _bank(shared, "r3", "other")


@pytest.fixture
def stranger(shared: Running, admin: Admin) -> Iterator[Bank]:
    """r3 without a client certificate."""
    yield from _bank(shared, "r3", None)
