"""What production starts from: the Compose file, the secrets it mounts, the roles, the image's list of files."""

import asyncio
import os
import re
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml  # type: ignore[import-untyped]  # comes with schemathesis, its stubs do not

from api.app import SECTIONS as API_SECTIONS
from db.engine import create_engine
from db.reads import Reads
from db.registry import Registry
from deploy.make_secrets import made, write
from deploy.worker_health import idle_queues
from dev.configuration_doc import may_be_a_file
from dev.migrations import ROOT
from dev.ports import free_port
from dev.postgres import EmbeddedPostgres
from dev.postgres_home import postgres_home, programs, remove_home
from dev.system import WORKERS
from domain.merchant import Mode
from operations.keys import add_key, add_merchant
from runtime import settings as conf
from runtime.env import Section, SettingsError
from runtime.secrets import hash_api_key, parse_keyring
from runtime.task_queues import QUEUE_WORDS, QUEUES
from runtime.temporal import connect
from tests.support.postgres import TEST_SETTINGS
from tests.support.stack import Stack

WORKER_SECTIONS = (*API_SECTIONS, conf.OperatorDatabase)
MIGRATION_SECTIONS = (conf.OwnerDatabase,)
REGISTER_SECTIONS = (conf.Temporal, conf.Keys)
VARIABLES = {"TOLEM_PUBLIC_URL": "https://pay.example.kz"}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def environment(service: str, secrets: Path) -> dict[str, str]:
    """A service's settings as its process sees them; `secrets` stands for /run/secrets."""
    values = {}
    for name, value in compose()["services"][service]["environment"].items():
        text = re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: VARIABLES.get(found[1]) or found[2], value)
        values[name] = text.replace("/run/secrets", str(secrets))
    return values


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    write(folder, made())
    return folder


@pytest.mark.parametrize(
    ("service", "sections"),
    [
        ("api-1", API_SECTIONS),
        ("api-2", API_SECTIONS),
        ("worker", WORKER_SECTIONS),
        ("deliveries", WORKER_SECTIONS),
        ("migrate", MIGRATION_SECTIONS),
        ("migrate", REGISTER_SECTIONS),
        ("tolem", WORKER_SECTIONS),
    ],
)
def test_a_service_gets_every_setting_that_its_process_reads_and_no_unknown_one(
    service: str, sections: tuple[type[Section], ...], secrets: Path
) -> None:
    given = environment(service, secrets)
    conf.load(*sections, environ=given)
    with pytest.raises(SettingsError):
        conf.load(environ=given | {"TOLEM_NO_SUCH": "1"})


def test_no_secret_stands_in_the_file_and_each_one_mounted_is_made() -> None:
    services, known = compose()["services"], set(compose()["secrets"])
    assert known == set(made())
    for name, service in services.items():
        assert set(service.get("secrets", [])) <= known, name
        mounted = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        used = set(re.findall(r"/run/secrets/\w+", str(service)))
        assert used <= mounted, name
        for variable, value in service.get("environment", {}).items():
            from_file = variable.endswith("_FILE") and value.startswith("/run/secrets/")
            ours = variable.startswith("TOLEM_") and may_be_a_file(variable.removesuffix("_FILE"))
            assert from_file or not (ours or re.search("PASSWORD|PWD|TOKEN|SECRET", variable)), variable
    assert "api-1" in services
    assert "operator_database_url" not in services["api-1"]["secrets"]


def seconds(text: str) -> float:
    assert re.fullmatch(r"[0-9]+s", text), text
    return float(text.removesuffix("s"))


def test_processes_are_given_the_time_they_take_to_stop() -> None:
    services = compose()["services"]
    worker = services["worker"]
    drain = float(worker["environment"]["TOLEM_WORKER_SHUTDOWN_SECONDS"])
    defaults = {row.name: row.default for row in conf.describe()}
    bank_call = 3 * 5 + float(defaults["TOLEM_KASPI_READ_TIMEOUT_SECONDS"])
    assert seconds(worker["stop_grace_period"]) > drain + bank_call
    drain_of_api = re.search(r"^DRAIN_SECONDS = (\d+)", (ROOT / "api" / "__main__.py").read_text(), re.MULTILINE)
    assert drain_of_api is not None
    for name in ("api-1", "api-2"):
        assert seconds(services[name]["stop_grace_period"]) > float(drain_of_api[1])
    for name, service in services.items():
        if service.get("restart") == "unless-stopped":
            assert {"stop_signal", "stop_grace_period", "healthcheck"} <= set(service), name


def test_nothing_listens_beyond_the_machine_and_there_are_two_of_what_serves() -> None:
    services = compose()["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert len({port.split(":")[1] for port in published}) == len(published)
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services["api-1"] | {"ports": []} == services["api-2"] | {"ports": []}


@pytest.mark.parametrize("name", WORKERS)
def test_workers_serve_the_queues_that_make_up_gives_them(name: str) -> None:
    assert compose()["services"][name]["environment"]["TOLEM_WORKER_QUEUES"].split(",") == list(WORKERS[name])


def test_the_workers_of_a_system_serve_every_queue_once() -> None:
    assert Counter(word for words in WORKERS.values() for word in words) == Counter(QUEUE_WORDS)


def test_secrets_are_made_once_for_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert set(write(folder, made())) == set(made())
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o444 for file in folder.iterdir())

    (folder / "codec_token").unlink()
    assert write(folder, made()) == ["codec_token"]
    assert {file.name: file.read_text() for file in folder.iterdir() if file.name != "codec_token"} == {
        name: value for name, value in before.items() if name != "codec_token"
    }
    parse_keyring(before["seal_keys"].strip())
    assert before["seal_keys"] != before["payload_keys"]


def image_files() -> set[str]:
    """What `.dockerignore` lets into the image."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    return {line[1:] for line in lines if line.startswith("!")}


def test_the_image_holds_what_production_imports_and_nothing_for_development(tmp_path: Path) -> None:
    for name in image_files():
        source, target = ROOT / name, tmp_path / name
        assert source.exists(), name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    assert not {"dev", "emulator", "tests", "secrets", ".env", ".tolem"} & image_files()
    # The editable install would find our rooms in the checkout: whatever comes from there is not in the image.
    script = (
        "import sys, api.app, api.__main__, worker, cli, migrations, deploy.worker_health\n"
        "files = [getattr(module, '__file__', None) or '' for module in sys.modules.values()]\n"
        f"print([file for file in files if file.startswith({str(ROOT)!r}) and '.venv' not in file])\n"
        "from runtime.leave import leave\nleave(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.fixture(scope="module")
async def bare_postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """A cluster without any of our roles, as a new one is."""
    folder = tmp_path_factory.mktemp("bare")
    server = EmbeddedPostgres(postgres_home(folder), free_port(), TEST_SETTINGS)
    await server.start()
    try:
        admin = await asyncpg.connect(server.database("postgres").dsn("postgres"))
        await admin.execute("drop database tolem")
        for role in ("tolem_owner", "tolem_app", "tolem_operator"):
            await admin.execute(f"drop role {role}")
        await admin.close()
        yield server
    finally:
        await server.stop()
        remove_home(folder)


async def finished(argv: list[str], **variables: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_roles_migrations_and_a_first_key_on_a_new_postgres(
    bare_postgres: EmbeddedPostgres, secrets: Path, tmp_path: Path
) -> None:
    database = bare_postgres.database("postgres")
    tools = str(programs(bare_postgres._home)) + os.pathsep + os.environ["PATH"]
    # The image's script, with its two folders where they are here.
    script = (ROOT / "deploy" / "postgres-init.sh").read_text(encoding="utf-8")
    init = tmp_path / "init.sh"
    init.write_text(script.replace("/run/secrets", str(secrets)).replace("/deploy/", f"{ROOT / 'deploy'}/"))
    for _ in range(2):  # repeating it is how passwords are changed
        await finished(
            ["sh", str(init)],
            PATH=tools,
            PGHOST="127.0.0.1",
            PGPORT=str(bare_postgres.port),
            PGPASSWORD=database.passwords["postgres"],
            POSTGRES_USER="postgres",
        )

    def url(name: str) -> str:
        written = (secrets / name).read_text().strip()
        return written.replace("@postgres:5432/", f"@127.0.0.1:{bare_postgres.port}/")

    owner = tmp_path / "owner_database_url"
    owner.write_text(url("owner_database_url"))
    await finished([sys.executable, "-m", "alembic", "upgrade", "head"], TOLEM_OWNER_DATABASE_URL_FILE=str(owner))

    operator, app = create_engine(url("operator_database_url")), create_engine(url("database_url"))
    try:
        merchant = await add_merchant(Registry(operator), "New shop", "210140000016")
        key = await add_key(Registry(operator), merchant.id, Mode.LIVE, "first")
        principal = await Reads(app).authenticate(hash_api_key(key))
        assert principal is not None
        assert principal.merchant.id == merchant.id
    finally:
        await operator.dispose()
        await app.dispose()
    for base in ("temporal", "temporal_visibility"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(url("database_url").replace("+asyncpg", "").removesuffix("tolem") + base)


@pytest.mark.stack
async def test_a_worker_is_healthy_where_it_polls_and_only_there(stack: Stack) -> None:
    given = stack.system.process_environment()
    settings = conf.load(conf.Temporal, conf.Keys, environ=given)
    client = await connect(settings[conf.Temporal], settings[conf.Keys].payload)
    async with asyncio.timeout(60):
        while await idle_queues(client, QUEUES, os.uname().nodename):  # noqa: ASYNC110 -- another process sends no event
            await asyncio.sleep(0.1)
    assert await idle_queues(client, QUEUES, "another-container") == [
        QUEUES.workflows,
        QUEUES.kaspi,
        QUEUES.watch,
        QUEUES.webhooks,
        QUEUES.deliveries,
    ]
    assert await idle_queues(client, QUEUES, "another-container", ["deliveries"]) == [QUEUES.deliveries]
