import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Replayer, Worker

from dev.ports import free_port
from domain.merchant import Health, Merchant, Mode
from runtime.secrets import KeyRing
from runtime.settings import Temporal, load
from runtime.temporal import (
    SEARCH_ATTRIBUTES,
    SearchAttributeConflict,
    TaskQueues,
    TemporalUnreachable,
    connect,
    data_converter,
    register_search_attributes,
)
from runtime.workflow_sandbox import workflow_runner
from tests.runtime.stories import Answer, Carry, Cheat, Fail, Order, look, refuse

RING = KeyRing("k2", {"k2": bytes(range(32)), "k1": bytes(32)})
ORDER = Order(
    merchant=Merchant(
        id="mer_1", name="Айгуль Сәрсенова", bin="123456789012", created_at=datetime(2026, 11, 22, tzinfo=UTC)
    ),
    amount=1_500_050,
    tenge=Decimal("15000.50"),
    mode=Mode.LIVE,
    health=Health.LOST,
    parts=(1, 2),
)
STORIES = [Carry, Cheat, Fail]


@pytest.fixture(scope="module")
async def client(bare_temporal: Temporal) -> Client:
    client = await connect(bare_temporal, RING)
    await register_search_attributes(client)
    return client


@pytest.fixture(scope="module", params=[True, False], ids=["sandboxed", "bare"])
async def queues(client: Client, request: pytest.FixtureRequest) -> AsyncIterator[TaskQueues]:
    queues = TaskQueues(f"test-{uuid.uuid4()}")
    async with Worker(
        client,
        task_queue=queues.workflows,
        workflows=STORIES,
        activities=[look, refuse],
        workflow_runner=workflow_runner(sandboxed=request.param),
    ):
        yield queues


async def carry(client: Client, queues: TaskQueues) -> WorkflowHandle[Carry, Answer]:
    handle = await client.start_workflow(
        Carry.run, ORDER, id=f"carry-{uuid.uuid4()}", task_queue=queues.workflows, static_summary="for 77011234567"
    )
    doubled = await handle.execute_update(Carry.double, ORDER)
    assert doubled.amount == 2 * ORDER.amount
    assert await handle.query(Carry.order) == ORDER
    await handle.signal(Carry.tell, "Айгуль")
    return handle


async def test_structs_travel_whole_and_history_is_unreadable_without_the_key(
    client: Client, queues: TaskQueues
) -> None:
    handle = await carry(client, queues)
    answer = await handle.result()
    assert answer.order == ORDER
    assert answer.order.merchant.created_at.tzinfo is not None
    assert answer.seen_by_activity == "Order Айгуль Сәрсенова 2026-11-22T00:00:00+00:00 15000.50 Айгуль"
    assert answer.queues == [queues.prefix, f"{queues.prefix}-kaspi", f"{queues.prefix}-webhooks"]
    assert answer.attributes == ["TolemMerchant", "TolemMode", "TolemState", "TolemAttention"]

    history = await handle.fetch_history()
    raw = b"".join(event.SerializeToString() for event in history.events)
    for text in ("Айгуль", "mer_1", "15000.50", "77011234567"):
        assert text.encode() not in raw

    replayer = Replayer(
        workflows=STORIES, data_converter=data_converter(RING), workflow_runner=workflow_runner(sandboxed=True)
    )
    await replayer.replay_workflow(history)


async def test_a_client_with_another_key_cannot_read(
    client: Client, queues: TaskQueues, bare_temporal: Temporal
) -> None:
    handle = await carry(client, queues)
    await handle.result()
    stranger = await connect(bare_temporal, KeyRing("k2", {"k2": b"\x01" * 32}))
    with pytest.raises(RuntimeError, match="does not open with key 'k2'"):
        await stranger.get_workflow_handle_for(Carry.run, handle.id).result()


async def test_a_key_that_was_rotated_out_of_first_place_still_reads(
    client: Client, queues: TaskQueues, bare_temporal: Temporal
) -> None:
    handle = await carry(client, queues)
    answer = await handle.result()
    rotated = await connect(bare_temporal, KeyRing("k3", {"k3": b"\x03" * 32, "k2": bytes(range(32))}))
    assert await rotated.get_workflow_handle_for(Carry.run, handle.id).result() == answer


async def test_failures_keep_their_type_and_hide_their_text(client: Client, queues: TaskQueues) -> None:
    handle = await client.start_workflow(
        Fail.run, "77011234567", id=f"fail-{uuid.uuid4()}", task_queue=queues.workflows
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ActivityError)
    error = caught.value.cause.cause
    assert isinstance(error, ApplicationError)
    assert error.type == "payer_unknown"
    assert error.message == "no such payer: 77011234567"
    assert error.details == ({"phone": "77011234567"},)
    history = await handle.fetch_history()
    raw = b"".join(event.SerializeToString() for event in history.events)
    assert b"payer_unknown" in raw
    assert b"77011234567" not in raw
    assert b"stories.py" not in raw


async def test_a_message_of_another_shape_is_refused_not_guessed(client: Client, queues: TaskQueues) -> None:
    handle = await client.start_workflow(Carry.run, ORDER, id=f"carry-{uuid.uuid4()}", task_queue=queues.workflows)
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("double", {**msgspec.to_builtins(ORDER), "amount": "1500050"})
    await handle.signal(Carry.tell, "done")
    await handle.result()


@pytest.mark.parametrize("kind", ["id", "clock", "uuid"])
async def test_the_sandbox_refuses_what_would_not_replay(client: Client, kind: str) -> None:
    queue = f"strict-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=STORIES, workflow_runner=workflow_runner(sandboxed=True)):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Cheat.run, kind, id=f"cheat-{uuid.uuid4()}", task_queue=queue)
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.message == "RestrictedWorkflowAccessError"


async def test_the_operator_sees_our_search_attributes(client: Client, queues: TaskQueues) -> None:
    handle = await carry(client, queues)
    await handle.result()
    described = await handle.describe()
    state = SEARCH_ATTRIBUTES[2]
    assert described.typed_search_attributes[state] == "pending"


async def custom_attributes(client: Client) -> dict[str, int]:
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return {name: int(kind) for name, kind in listed.custom_attributes.items()}


async def forget(client: Client, *names: str) -> None:
    present = [name for name in names if name in await custom_attributes(client)]
    await client.operator_service.remove_search_attributes(
        RemoveSearchAttributesRequest(namespace=client.namespace, search_attributes=present)
    )


async def test_search_attributes_are_registered_once_and_by_two_at_once(client: Client) -> None:
    names = [key.name for key in SEARCH_ATTRIBUTES]
    await forget(client, *names)
    added = await asyncio.gather(*(register_search_attributes(client) for _ in range(4)))
    assert sorted(names) in added
    kinds = await custom_attributes(client)
    assert {kinds[name] for name in names} == {int(IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)}
    await forget(client, "TolemState")
    assert await register_search_attributes(client) == ["TolemState"]
    assert await register_search_attributes(client) == []


async def test_a_search_attribute_of_another_type_is_an_operators_matter(client: Client) -> None:
    await forget(client, "TolemState")
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=client.namespace,
            search_attributes={"TolemState": IndexedValueType.INDEXED_VALUE_TYPE_INT},
        )
    )
    try:
        with pytest.raises(SearchAttributeConflict, match="TolemState"):
            await register_search_attributes(client)
    finally:
        await forget(client, "TolemState")
        await register_search_attributes(client)


async def test_nobody_at_the_address_is_said_so() -> None:
    settings = load(Temporal, environ={"TOLEM_TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}"})[Temporal]
    with pytest.raises(TemporalUnreachable, match="TOLEM_TEMPORAL_ADDRESS"):
        await connect(settings, RING)
    lazy = await connect(settings, RING, lazy=True, identity="api")
    assert lazy.identity == "api"
