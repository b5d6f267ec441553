from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from dev.ports import free_port
from dev.temporal import SEARCH_ATTRIBUTES, TemporalFailed, TemporalServer


async def test_search_attributes_are_registered(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)

    answer = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))

    kinds = {name: answer.custom_attributes[name] for name in SEARCH_ATTRIBUTES}
    assert set(kinds.values()) == {IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}


async def test_started_workflows_survive_kill_9(tmp_path: Path) -> None:
    server = TemporalServer(tmp_path, free_port())
    await server.start()
    try:
        client = await Client.connect(server.address)
        await client.start_workflow("Anything", id="kept", task_queue="nobody-works-here")

        await server.kill9()
        await server.start()

        client = await Client.connect(server.address)
        description = await client.get_workflow_handle("kept").describe()
        assert description.workflow_type == "Anything"
    finally:
        await server.stop()


async def test_another_server_on_the_port_is_not_taken_for_ours(temporal_server: TemporalServer) -> None:
    twin = TemporalServer(None, temporal_server.port)
    with pytest.raises(TemporalFailed, match=f"port {temporal_server.port} is taken by temporal"):
        await twin.start()


async def test_a_server_that_ends_while_starting_says_where_its_log_is(tmp_path: Path) -> None:
    (tmp_path / "temporal.db").mkdir()
    with pytest.raises(TemporalFailed, match=r"temporal\.log"):
        await TemporalServer(tmp_path, free_port()).start(tmp_path / "temporal.log")
