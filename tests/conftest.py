"""Fixtures of every room. All are lazy: a test that asks for no server starts none."""

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings

from dev.ports import free_port
from dev.postgres import Database, EmbeddedPostgres
from dev.postgres_home import postgres_home, remove_home
from dev.temporal import TemporalServer
from tests.support.emulator import EmulatorServer
from tests.support.postgres import TEST_SETTINGS, PostgresServer
from tests.support.receiver import WebhookReceiver
from tests.support.stack import PARTS, Stack

_EXIT_STATUS = pytest.StashKey[int]()

# A change is judged by the same examples each time, and never by how busy the machine is.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", _UNHURRIED, derandomize=True)
# New examples with every run: PYTEST_ARGS="--hypothesis-profile exploring".
settings.register_profile("exploring", _UNHURRIED)
settings.load_profile("repeatable")

# Short, so that outages and retries are over within seconds: what is promised must hold at any length. Long enough for
# a machine that is four times slower: a bill that misses its window, an answer that comes before the bank's, or a
# webhook that is given up is another outcome, and a test that did not mean it fails.
STACK_SETTINGS = {
    # Keys with limits of their own are limited (tests/e2e/test_rate_limits.py).
    "TOLEM_RATE_LIMIT_PER_MINUTE": "0",
    "TOLEM_ISSUE_WINDOW_SECONDS": "6",
    "TOLEM_ANSWER_WITHIN_SECONDS": "8",
    "TOLEM_KASPI_READ_TIMEOUT_SECONDS": "12",
    "TOLEM_WEBHOOK_SCHEDULE_SECONDS": "1,1,1",
    "TOLEM_WEBHOOK_TIMEOUT_SECONDS": "20",
    "TOLEM_WATCHDOG_SECONDS": "2",
    "TOLEM_WATCHDOG_GRACE_SECONDS": "3",
    "TOLEM_REFUND_WINDOW_SECONDS": "2",
    "TOLEM_RECONCILE_CALLS_PER_SECOND": "500",
    "TOLEM_RECONCILE_PAUSE_SECONDS": "0.2",
    "TOLEM_RECONCILE_LAG_SECONDS": "0",
    "TOLEM_RECONCILE_PATIENCE_SECONDS": "20",
    # Half a day away: a night that begins beside a test compares that test's connection too.
    "TOLEM_RECONCILE_AT": f"{datetime.now(ZoneInfo('Asia/Almaty')) + timedelta(hours=12):%H:%M}",
}


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    """Where the servers of this run keep data and logs; unlike pytest's own folder it can be open to `nobody`."""
    folder = Path(tempfile.mkdtemp(prefix="tolem-test-"))
    folder.chmod(0o711)
    yield folder
    remove_home(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def postgres_server(servers_dir: Path) -> AsyncIterator[PostgresServer]:
    """One Postgres per run. For most tests `postgres` or `fresh_postgres` is what is wanted."""
    server = EmbeddedPostgres(postgres_home(servers_dir), free_port(), TEST_SETTINGS)
    await server.start(servers_dir / "postgres.log")
    try:
        running = PostgresServer(server)
        await running.migrate_template()
        yield running
    finally:
        await server.stop()


@pytest.fixture(scope="session")
async def postgres(postgres_server: PostgresServer) -> Database:
    """One migrated database for the whole run: other tests' rows are in it. `.app_url`, `.owner_url`, `.app_dsn`…"""
    return await postgres_server.fresh_database()


@pytest.fixture
async def fresh_postgres(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A migrated database of this test alone."""
    database = await postgres_server.fresh_database()
    yield database
    await postgres_server.drop(database)


@pytest.fixture(scope="session")
async def temporal_server(servers_dir: Path) -> AsyncIterator[TemporalServer]:
    """The real development server, in memory, with our search attributes: `Client.connect(temporal_server.address)`."""
    server = TemporalServer(None, free_port())
    await server.start(servers_dir / "temporal.log")
    yield server
    await server.kill9()  # a polite stop takes a second and nothing of it is kept


@pytest.fixture(scope="session")
async def emulator(servers_dir: Path) -> AsyncIterator[EmulatorServer]:
    """The emulated bank of this run: `.bank_url`, `.certificates`, `.admin`. Its books hold other tests' rows too."""
    folder = servers_dir / "emulator"
    folder.mkdir()
    server = EmulatorServer(folder)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    """A merchant's webhook receiver on a real socket."""
    async with WebhookReceiver() as listening:
        yield listening


@pytest.fixture(scope="session")
async def stack_of_run(servers_dir: Path) -> AsyncIterator[Stack]:
    """For `stack` only: one whole system per run."""
    folder = servers_dir / "stack"
    folder.mkdir(mode=0o711)
    async with Stack(folder, STACK_SETTINGS) as running:
        yield running


@pytest.fixture
async def stack(stack_of_run: Stack) -> Stack:
    """The whole system, every part alive and the bank without faults; a test may kill what it likes."""
    await stack_of_run.heal()
    await stack_of_run.emulator.clear_faults()
    return stack_of_run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    funcargs = getattr(item, "funcargs", {})
    running = funcargs.get("stack")
    if report.failed and isinstance(running, Stack):
        report.sections.extend((f"end of the log of {part}", running.log_tail(part)) for part in PARTS)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leaves before the interpreter's own teardown, which Temporal's threads can abort (sdk-python #300)."""
    status = config.stash.get(_EXIT_STATUS, None)
    if status is None or "temporalio" not in sys.modules or hasattr(config, "workerinput"):
        return  # a worker of xdist is ended by its master, which has its results by then
    from runtime.leave import leave  # noqa: PLC0415 — only a run that used Temporal needs it

    leave(status)
