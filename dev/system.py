"""The parts of a whole Tölem on one machine: how each is started, and when it serves."""

import importlib
import importlib.util
import json
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from dev.dev_secrets import load_or_make
from dev.layout import Layout, Ports
from dev.migrations import ROOT, upgrade
from dev.postgres import Database, EmbeddedPostgres
from dev.postgres_home import postgres_home
from dev.process import Command
from dev.seed_plan import SeedPlan
from dev.temporal import TemporalServer
from runtime.task_queues import QUEUE_WORDS, QUEUES

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
# The workers by name, with the queues each serves, as docker-compose.yml has them. What failed once has a process of
# its own: in that of the first attempts, receivers that are down would cost the others time (docs/performance.md).
WORKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker": tuple(word for word in QUEUE_WORDS if word != "deliveries"),
    "deliveries": ("deliveries",),
}
# Knows no certificates: reading them takes 25 ms of CPU for each client, and readiness is asked often.
_PLAIN_HTTP = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# Scripts ask as fast as they like, and see the headers of a limit all the same.
_GENEROUS = {"TOLEM_RATE_LIMIT_PER_MINUTE": "6000", "TOLEM_RATE_LIMIT_BURST": "6000"}


class System:
    """Postgres, Temporal, emulator, workers and API over one state folder, which is made on first use.

    `root` is the folder whose `worker.py`, `api` and `emulator` run. `settings` are further `TOLEM_*` variables for
    workers and API; they win over the caller's environment, and the addresses and secrets of this system over both.
    """

    def __init__(
        self,
        state_dir: Path,
        ports: Ports,
        *,
        root: Path = ROOT,
        settings: Mapping[str, str] | None = None,
        postgres_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.layout = Layout(state_dir.resolve())
        self.ports = ports
        self._root = root
        self._settings = dict(settings or {})
        self.layout.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.layout.temporal.mkdir(exist_ok=True)
        self.secrets = load_or_make(self.layout.secrets)
        self.postgres = EmbeddedPostgres(postgres_home(self.layout.state_dir), ports.postgres, postgres_settings)
        # The UI in a browser has no way to send our token but in the address it is given.
        codec = f"{self.api_url}/codec/{self.secrets.codec_token}"
        self.temporal = TemporalServer(self.layout.temporal, ports.temporal, ports.temporal_ui, codec)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def emulator_url(self) -> str:
        """The emulator's admin address."""
        return f"http://127.0.0.1:{self.ports.emulator}"

    @property
    def bank_url(self) -> str:
        """The emulator's bank address: HTTPS, without the scheme prefix."""
        return f"https://127.0.0.1:{self.ports.bank}"

    @property
    def temporal_ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.temporal_ui}"

    @property
    def database(self) -> Database:
        """Known once Postgres has been prepared."""
        return self.postgres.database()

    def emulator_command(self) -> Command:
        ports = ("--bank-port", str(self.ports.bank), "--admin-port", str(self.ports.emulator))
        files = ("--state", str(self.layout.emulator_state), "--certs", str(self.layout.certificates))
        return Command(
            name="emulator",
            argv=(sys.executable, "-m", "emulator", *ports, *files),
            env=_inherited(),
            cwd=self._root,
        )

    def worker_command(self, name: str = "worker", queues: Sequence[str] | None = None) -> Command:
        """One of `WORKERS`, with its queues or with these."""
        return Command(
            name=name,
            argv=(sys.executable, "worker.py"),
            env={
                **self.process_environment(),
                # It looks over all merchants once, for the connections whose pollers it keeps running.
                "TOLEM_OPERATOR_DATABASE_URL": self.database.operator_url,
                "TOLEM_WORKER_QUEUES": ",".join(WORKERS[name] if queues is None else queues),
            },
            cwd=self._root,
            # It drains for TOLEM_WORKER_SHUTDOWN_SECONDS (35), and books the answer of a bank call that runs (≤ 40 s).
            stop_seconds=90,
        )

    def api_command(self, name: str = "api", port: int | None = None) -> Command:
        environment = self.process_environment()
        if port:
            environment["TOLEM_API_PORT"] = str(port)
        return Command(name=name, argv=(sys.executable, "-m", "api"), env=environment, cwd=self._root)

    def process_environment(self) -> dict[str, str]:
        """The complete environment of workers and API. Holds secrets."""
        given = {name: value for name, value in os.environ.items() if name.startswith("TOLEM_")}
        given.pop("TOLEM_DEV_PORT_BASE", None)
        return {
            **_inherited(),
            "TOLEM_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1,localhost",
            "TOLEM_WEBHOOK_ALLOW_HTTP": "true",
            **({} if "TOLEM_RATE_LIMIT_PER_MINUTE" in given else _GENEROUS),
            **given,
            **self._settings,
            "TOLEM_DATABASE_URL": self.database.app_url,
            "TOLEM_TEMPORAL_ADDRESS": self.temporal.address,
            "TOLEM_SEAL_KEYS": self.secrets.seal_keys,
            "TOLEM_PAYLOAD_KEYS": self.secrets.payload_keys,
            "TOLEM_CODEC_TOKEN": self.secrets.codec_token,
            "TOLEM_API_HOST": "127.0.0.1",
            "TOLEM_API_PORT": str(self.ports.api),
            "TOLEM_PUBLIC_URL": self.api_url,
            "TOLEM_TEMPORAL_UI_ORIGIN": self.temporal_ui_url,
        }

    def operator_environment(self) -> dict[str, str]:
        """As `process_environment`, with the roles of operators and migrations: for `tolem` commands and the seed."""
        return {
            **self.process_environment(),
            "TOLEM_OPERATOR_DATABASE_URL": self.database.operator_url,
            "TOLEM_OWNER_DATABASE_URL": self.database.owner_url,
        }

    async def migrate(self) -> None:
        await upgrade(self.database.owner_url)

    async def seed(self) -> None:
        """Puts the demo merchant in. Postgres, Temporal and the emulator must run."""
        if importlib.util.find_spec("dev.seed") is None:
            return
        plan = SeedPlan(
            environment=self.operator_environment(),
            test_key=self.secrets.test_key,
            live_key=self.secrets.live_key,
            bank_url=self.bank_url,
            emulator_url=self.emulator_url,
            certificates=self.layout.certificates,
        )
        await importlib.import_module("dev.seed").seed(plan)

    async def emulator_ready(self) -> bool:
        return await answers(f"{self.emulator_url}/emulator/health")

    async def api_ready(self) -> bool:
        return await answers(f"{self.api_url}/health/ready")

    async def worker_ready(self, since: float, name: str = "worker") -> bool:
        """Whether one of `WORKERS` has asked for workflow tasks after `since` (Unix time): older ones may be dead."""
        queue = QUEUES.called(WORKERS[name][0])
        # Only the legacy form also lists workers of a deployment version.
        said = await self.temporal.ask(
            *("task-queue", "describe", "--task-queue", queue, "--legacy-mode", "--output", "json")
        )
        pollers = json.loads(said).get("pollers") or [] if said else []
        return any(_moment(poller["last_access_time"]) >= since for poller in pollers)


async def answers(url: str) -> bool:
    """Whether a GET is answered 200 now."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5, verify=_PLAIN_HTTP) as client:
            return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


def _inherited() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _moment(timestamp: Mapping[str, int]) -> float:
    return timestamp.get("seconds", 0) + timestamp.get("nanos", 0) / 1e9
