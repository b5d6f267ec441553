"""The activities with their real gateways: Postgres, and the emulated bank behind the real `KaspiBank`."""

import os
from collections.abc import AsyncIterator

import pytest

from dev.postgres import Database
from runtime.secrets import KeyRing, SealBox
from tests.activities.desk import Desk
from tests.activities.town import Town
from tests.support.emulator import EmulatorServer


@pytest.fixture(scope="session")
def box() -> SealBox:
    return SealBox(KeyRing("k1", {"k1": os.urandom(32)}))


@pytest.fixture(scope="session")
async def town_of_run(postgres: Database, emulator: EmulatorServer, box: SealBox) -> AsyncIterator[Town]:
    """For `town` only."""
    made = Town(postgres, emulator, box)
    yield made
    await made.close()


@pytest.fixture
async def town(town_of_run: Town) -> AsyncIterator[Town]:
    """Books, bank and merchants; the bank without faults."""
    await town_of_run.admin.clear_faults()
    yield town_of_run
    await town_of_run.admin.clear_faults()


@pytest.fixture
async def desk(town: Town) -> Desk:
    """A merchant's reconciliations."""
    return Desk(town, await town.merchant())
