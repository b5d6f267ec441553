import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dev.postgres import Database
from domain.invoice import Kind
from domain.refund import SimulatedRefund
from tests.db.books import Books
from tests.replay.recording import FOLDER_VARIABLE, write_histories
from tests.workflows.bill import Bill, NewBill
from tests.workflows.refund_scene import RefundScene
from tests.workflows.refund_stage import NewRefund, RefundStage, StagedRefund, open_refund_stage
from tests.workflows.stage import Stage, open_stage
from tests.workflows.subscription_stage import (
    NewSubscription,
    StagedSubscription,
    SubscriptionStage,
    on_a_clock,
    open_subscription_stage,
    order_of,
)


@pytest.fixture(scope="session")
async def stage() -> AsyncIterator[Stage]:
    async with open_stage() as opened:
        yield opened
        if folder := os.environ.get(FOLDER_VARIABLE):
            await write_histories(opened.client, Path(folder))


@pytest.fixture
def scene_name(request: pytest.FixtureRequest) -> str:
    """The test's own name: it stands in the workflow ids and so in the names of recorded histories."""
    return re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")


@pytest.fixture
def new_bill(stage: Stage, scene_name: str) -> NewBill:
    def make(
        kind: Kind = Kind.PHONE, *, is_sandbox: bool = False, endpoints: tuple[str, ...] = (), part: str = ""
    ) -> Bill:
        return Bill(stage, stage.add(f"{scene_name}{part}", kind, is_sandbox=is_sandbox, endpoints=endpoints))

    return make


@pytest.fixture(scope="session")
async def refund_stage(stage: Stage) -> AsyncIterator[RefundStage]:
    async with open_refund_stage(stage) as opened:
        yield opened


@pytest.fixture
def new_refund(refund_stage: RefundStage, scene_name: str) -> NewRefund:
    def make(
        part: str = "",
        *,
        is_sandbox: bool = False,
        simulate: SimulatedRefund = SimulatedRefund.COMPLETED,
        endpoints: tuple[str, ...] = (),
    ) -> StagedRefund:
        scene = RefundScene(f"{scene_name}{part}", is_sandbox=is_sandbox, simulate=simulate, endpoints=endpoints)
        return StagedRefund(refund_stage, refund_stage.add(scene))

    return make


@pytest.fixture(scope="session")
async def subscription_stage(stage: Stage, postgres: Database) -> AsyncIterator[SubscriptionStage]:
    books = Books(postgres)
    async with open_subscription_stage(stage, books) as opened:
        yield opened
    await books.close()


@pytest.fixture
def subscription_id(scene_name: str) -> str:
    """Of the test's name, as far as ids of ours go: it stands in the names of recorded histories."""
    return f"sub_{re.sub('[^A-Za-z0-9]', '', scene_name)[:60]}"


@pytest.fixture
def new_subscription(subscription_stage: SubscriptionStage, subscription_id: str) -> NewSubscription:
    """On a test clock, unless `real_time`; a live one has its merchant's connection to the played bank."""

    async def make(**changes: Any) -> StagedSubscription:
        if not changes.pop("real_time", False):
            made = await on_a_clock(subscription_stage, subscription_id, **changes)
        else:
            shop = await subscription_stage.books.merchant()
            await shop.endpoint(sandbox=changes.get("is_sandbox", True))
            made = StagedSubscription(subscription_stage, shop, order_of(shop, subscription_id, **changes))
        await made.open()
        return made

    return make
