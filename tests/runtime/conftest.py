from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dev.ports import free_port
from dev.process import Command
from dev.temporal import TemporalServer
from runtime.settings import Temporal, load


class BareServer(TemporalServer):
    """Not the SDK's own environment: that gives a server 5 s to start, and a busy machine needs more."""

    def command(self) -> Command:
        command = super().command()
        argv = iter(command.argv)
        kept = [word for word in argv if word != "--search-attribute" or next(argv) is None]
        return replace(command, argv=tuple(kept))


@pytest.fixture(scope="session")
async def bare_temporal() -> AsyncIterator[Temporal]:
    """Settings of a development server that knows nothing of us: no search attributes, no workflows."""
    server = BareServer(None, free_port())
    await server.start()
    yield load(Temporal, environ={"TOLEM_TEMPORAL_ADDRESS": server.address})[Temporal]
    await server.kill9()
