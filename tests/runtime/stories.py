"""Workflows for the sandbox tests; a module of its own, because the sandbox loads it anew for each."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

from domain import ids
from domain.merchant import Health, Merchant, Mode
from runtime.temporal import SEARCH_ATTRIBUTES, TaskQueues
from runtime.temporal_names import STATE


class Order(msgspec.Struct, frozen=True):
    merchant: Merchant
    amount: int
    tenge: Decimal
    mode: Mode
    health: Health | None = None
    parts: tuple[int, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    order: Order
    seen_by_activity: str
    queues: list[str]
    attributes: list[str]


@activity.defn(name="look")
async def look(order: Order) -> str:
    activity.heartbeat(order)
    made = order.merchant.created_at
    return f"{type(order).__name__} {order.merchant.name} {made.astimezone(UTC).isoformat()} {order.tenge}"


@activity.defn(name="refuse")
async def refuse(phone: str) -> None:
    raise ApplicationError(f"no such payer: {phone}", {"phone": phone}, type="payer_unknown", non_retryable=True)


@workflow.defn(name="carry")
class Carry:
    @workflow.init
    def __init__(self, order: Order) -> None:
        self._order = order
        self._told = ""

    @workflow.run
    async def run(self, order: Order) -> Answer:
        seen = await workflow.execute_activity(look, order, start_to_close_timeout=timedelta(seconds=10))
        workflow.upsert_search_attributes([STATE.value_set("pending")])
        await workflow.wait_condition(lambda: bool(self._told))
        queues = TaskQueues(workflow.info().task_queue)
        return Answer(
            order=order,
            seen_by_activity=f"{seen} {self._told}",
            queues=[queues.workflows, queues.kaspi, queues.webhooks],
            attributes=[key.name for key in SEARCH_ATTRIBUTES],
        )

    @workflow.signal(name="tell")
    def tell(self, text: str) -> None:
        self._told = text

    @workflow.update(name="double")
    def double(self, order: Order) -> Order:
        return msgspec.structs.replace(order, amount=order.amount * 2)

    @workflow.query(name="order")
    def order(self) -> Order:
        return self._order


@workflow.defn(name="fail")
class Fail:
    @workflow.run
    async def run(self, phone: str) -> None:
        await workflow.execute_activity(refuse, phone, start_to_close_timeout=timedelta(seconds=10))


def _impure(kind: str) -> str:
    if kind == "id":
        return ids.new_id("inv")
    if kind == "clock":
        return datetime.now(UTC).isoformat()
    return str(uuid.uuid4())


@workflow.defn(name="cheat")
class Cheat:
    """Says what the sandbox says to code that would not replay."""

    @workflow.run
    async def run(self, kind: str) -> str:
        try:
            return _impure(kind)
        except workflow.NondeterminismError as error:
            raise ApplicationError(type(error).__name__, type="nondeterminism") from None
