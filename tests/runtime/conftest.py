import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from runtime.settings import Temporal, load

TEMPORAL = Path(sys.executable).with_name("temporal")


@pytest.fixture(scope="session")
async def bare_temporal() -> AsyncIterator[Temporal]:
    """Settings of a development server that knows nothing of us: no search attributes, no workflows."""
    environment = await WorkflowEnvironment.start_local(dev_server_existing_path=str(TEMPORAL))
    try:
        address = environment.client.service_client.config.target_host
        yield load(Temporal, environ={"TOLEM_TEMPORAL_ADDRESS": address})[Temporal]
    finally:
        await environment.shutdown()
