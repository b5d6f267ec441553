"""The import rules of pyproject.toml hold, and each of them notices a breach."""

import shutil
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.migrations import ROOT

# For each contract: the package that breaks it with one line in a new module.
BREACHES = {
    "Rooms import downwards only": ("domain", "import kaspi.errors"),
    "The two public contracts are apart": ("api/apipay", "import api.v1.fields"),
    "What a workflow can reach does no input or output": ("workflows", "import httpx"),
    "Gateways are configured by their callers and know nothing of Temporal": ("kaspi", "import temporalio"),
    "The bank's words and the database's columns stay apart from the public contracts": (
        "db",
        "import contracts.v1",
    ),
    "The API writes no money row and calls neither bank nor merchant": ("api", "import db.ledger"),
    "Only db speaks SQL": ("runtime", "import asyncpg"),
    "Only kaspi and webhooks make HTTP calls": ("db", "import httpx"),
    "Only the API and the emulator serve HTTP": ("webhooks", "import litestar"),
    "Nouns and public shapes are pure": ("domain", "import structlog"),
    "The emulator shares nothing with us": ("emulator", "import domain.money"),
    "We share nothing with the emulator": ("dev", "import emulator.app"),
}
_TOOL = Path(sysconfig.get_path("scripts")) / "lint-imports"
_CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def lint(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [_TOOL, "--no-cache"],
        cwd=folder,
        # Wide: names of contracts are not to be wrapped.
        env={"COLUMNS": "300", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for package in _CONFIG["root_packages"]:
        name = package.split(".", maxsplit=1)[0]
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "static"), dirs_exist_ok=True
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def breached(copy: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    package, line = BREACHES[request.param]
    path = copy / package / "breach.py"
    path.write_text(f"{line}\n")
    yield copy
    path.unlink()


def test_the_rules_hold() -> None:
    status, said = lint(ROOT)
    assert status == 0, said


def test_the_copy_is_judged_as_the_original(copy: Path) -> None:
    status, said = lint(copy)
    assert status == 0, said


@pytest.mark.parametrize(
    ("breached", "contract"), [(name, name) for name in BREACHES], indirect=["breached"], ids=BREACHES
)
def test_a_breach_is_noticed(breached: Path, contract: str) -> None:
    status, said = lint(breached)
    assert status == 1
    assert f"{contract} BROKEN" in said


def test_every_rule_has_its_breach() -> None:
    assert set(BREACHES) == {contract["name"] for contract in _CONFIG["contracts"]}


def test_every_package_is_under_the_rules() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    named = {package.split(".", maxsplit=1)[0] for package in _CONFIG["root_packages"]}
    assert packages - named <= {"tests", "migrations", "bench"}
