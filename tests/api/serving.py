"""The real API on a real socket over a test's database, without the other parts of the system."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from api.__main__ import DRAIN_SECONDS
from api.app import SECTIONS, production_app
from api.services import Services
from api.serving import Server
from dev.postgres import Database
from runtime import settings as conf
from tests.support.nobody import deaf_port

PUBLIC_URL = "http://127.0.0.1:9"


def environment(database: Database) -> dict[str, str]:
    """Settings of an API process over this database; its Temporal is nobody."""
    ring = "k1:" + base64.b64encode(bytes(range(32))).decode()
    return {
        "TOLEM_DATABASE_URL": database.app_url,
        "TOLEM_TEMPORAL_ADDRESS": f"127.0.0.1:{deaf_port()}",
        "TOLEM_SEAL_KEYS": ring,
        "TOLEM_PAYLOAD_KEYS": ring,
        "TOLEM_CODEC_TOKEN": "only-for-the-tests-of-streams",
        "TOLEM_PUBLIC_URL": PUBLIC_URL,
        "TOLEM_RATE_LIMIT_PER_MINUTE": "0",
    }


class RunningApi:
    """`url` is where it serves, `services` what its handlers work with, `closing` what ends before it does."""

    def __init__(self, server: Server, url: str, services: Services) -> None:
        self.server = server
        self.url = url
        self.services = services
        self.closing = AsyncExitStack()


@asynccontextmanager
async def running_api(database: Database, port: int | None = None) -> AsyncIterator[RunningApi]:
    """The API in this process, so that a test can shorten its waits; it stops as `python -m api` does."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", port or 0))
    port = place.getsockname()[1]
    app = production_app(conf.load(*SECTIONS, environ=environment(database)))
    server = Server(app, "127.0.0.1", port, drain_seconds=DRAIN_SECONDS)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]  # pytest's own stay
    serving = asyncio.create_task(server.serve([place]))
    try:
        while not server.started:
            assert not serving.done(), "the API does not start"
            await asyncio.sleep(0.01)
        running = RunningApi(server, f"http://127.0.0.1:{port}", app.state.services)
        async with running.closing:
            yield running
    finally:
        server.should_exit = True
        await serving
