"""A bill on the stage, as its merchant, its bank and its operator handle it."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from temporalio.client import WorkflowHandle

from domain.bank import Verdict
from domain.event import DeliveryState
from domain.invoice import Kind, State
from runtime.temporal_names import ATTENTION, STATE
from tests.workflows.book import Entry
from tests.workflows.scene import LIFETIME, Scene, fact
from tests.workflows.stage import Stage
from workflows.invoice_messages import AwaitIssued, Resolution, Resolve

if TYPE_CHECKING:
    from temporalio.api.common.v1 import Payload
    from temporalio.api.enums.v1 import EventType

# Only ends a test that hangs.
WAIT = 60.0


class NewBill(Protocol):
    """The fixture `new_bill`; `part` tells several bills of one test apart."""

    def __call__(
        self, kind: Kind = Kind.PHONE, *, is_sandbox: bool = False, endpoints: tuple[str, ...] = (), part: str = ""
    ) -> "Bill": ...


class Bill:
    """One invoice workflow and its scene."""

    def __init__(self, stage: Stage, scene: Scene) -> None:
        self.stage, self.scene = stage, scene
        self.order = scene.order

    @property
    def handle(self) -> WorkflowHandle[object, State]:
        return self.stage.client.get_workflow_handle(f"invoice-{self.order.invoice_id}", result_type=State)

    @property
    def entries(self) -> list[Entry]:
        return self.scene.book.entries

    @property
    def state(self) -> State:
        return self.scene.book.state

    async def issue(
        self, *, issue_before: datetime | None = None, fingerprint: str | None = None, again: bool = False
    ) -> None:
        changes = {"issue_before": issue_before, "fingerprint": fingerprint}
        order = msgspec.structs.replace(self.order, **{name: value for name, value in changes.items() if value})
        await self.stage.engine.issue(order, wait=WAIT, again=again)

    async def ask_again(self, *, issue_before: datetime) -> None:
        """As another version of the API would: the same body, and not under the update id of the first ask."""
        ask = AwaitIssued(fingerprint=self.order.fingerprint, issue_before=issue_before)
        await self.handle.execute_update("issued", ask, id="issued-again")

    async def bank_says(self, verdict: Verdict, *, word: str | None = None, amount: int | None = None) -> None:
        assert await self.stage.engine.bank_said(self.order.invoice_id, fact(verdict, word=word, amount=amount))

    async def cancel(self) -> None:
        await self.stage.engine.cancel(self.order.invoice_id, wait=WAIT)

    async def simulate(self, verdict: Verdict) -> None:
        await self.stage.engine.simulate(self.order.invoice_id, verdict, wait=WAIT)

    async def resolve(self, action: Resolution, payment_id: int | None = None, *, by: str = "", note: str = "") -> None:
        ask = Resolve(action=action, bank_payment_id=payment_id, by=by, note=note)
        await self.stage.engine.resolve(self.order.invoice_id, ask, wait=WAIT)

    async def skip(self, duration: timedelta) -> None:
        await self.stage.skip(self.handle, duration)

    async def pass_deadline(self) -> None:
        await self.skip(LIFETIME + timedelta(seconds=0.5))

    async def result(self) -> State:
        async with asyncio.timeout(WAIT):
            return await self.handle.result()

    async def acknowledged(self) -> State:
        """The end of a story that only waits for somebody to have seen its case."""
        attention = self.scene.book.attention
        assert attention is not None
        await self.until_shown(self.state.value, attention.value)
        await self.resolve(Resolution.ACKNOWLEDGE, by="aigul")
        assert await self.shown() == (self.state.value, None)
        return await self.result()

    async def shown(self) -> tuple[str | None, str | None]:
        """The state and the attention that operators can search for."""
        attributes = (await self.handle.describe()).typed_search_attributes
        return attributes.get(STATE), attributes.get(ATTENTION)

    async def until_shown(self, state: str, attention: str | None) -> None:
        async with asyncio.timeout(WAIT):
            while await self.shown() != (state, attention):  # noqa: ASYNC110 — another process sends no event
                await asyncio.sleep(0.05)

    async def shown_so_far(self) -> list[tuple[str | None, str | None]]:
        """Each pair of state and attention that operators could search for in this run, one after another."""
        shown: list[tuple[str | None, str | None]] = []
        found: dict[str, str | None] = {}
        async for event in self.handle.fetch_history_events():
            upserted = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
            if upserted:
                found |= {name: _keyword(payload) for name, payload in upserted.items()}
                shown.append((found.get(STATE.name), found.get(ATTENTION.name)))
        return shown

    async def until_event(self, kind: "EventType.ValueType", times: int = 1) -> None:
        """Returns when the history has that many events of the kind."""
        await until_event(self.handle, kind, times)

    def delivery(self, number: int, endpoint: str) -> WorkflowHandle[object, DeliveryState]:
        """The workflow of the long tail of the webhook that told the book's line `number`."""
        return self.stage.client.get_workflow_handle(
            f"delivery-{self.delivery_id(number, endpoint)}", result_type=DeliveryState
        )

    def delivery_id(self, number: int, endpoint: str) -> str:
        return f"whd_{self.order.invoice_id.removeprefix('inv_')}_{number}_{endpoint}"


def _keyword(payload: "Payload") -> str | None:
    word: str | None = json.loads(payload.data or b"null") or None
    return word


async def until_event(handle: WorkflowHandle[Any, Any], kind: "EventType.ValueType", times: int = 1) -> None:
    """Returns when the workflow's history has that many events of the kind."""
    async with asyncio.timeout(WAIT):
        async for event in handle.fetch_history_events(wait_new_event=True):
            times -= event.event_type == kind
            if times == 0:
                return
