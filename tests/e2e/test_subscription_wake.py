"""`tolem subscriptions wake`: a workflow begins again from the books, and nothing new comes of it."""

import pytest
from temporalio.client import WorkflowExecutionStatus

from runtime import settings as conf
from runtime.temporal import connect
from tests.support.operating import operate
from tests.support.shop import Shop, fresh_phone
from tests.support.waiting import until

pytestmark = pytest.mark.stack

PATH = "/api/v1/subscriptions"


async def test_one_that_runs_is_left_alone_and_one_that_is_over_looks_once_and_ends(shop: Shop) -> None:
    settings = conf.load(conf.Temporal, conf.Keys, environ=shop.stack.system.operator_environment())
    temporal = await connect(settings[conf.Temporal], settings[conf.Keys].payload)
    body = {"phone_number": fresh_phone(), "amount": 5000, "started_at": "2027-06-01T10:00:00+05:00"}
    made = (await shop.test.post(PATH, json=body)).json()["id"]
    handle = temporal.get_workflow_handle(f"subscription-{made}")

    async def ended() -> str | None:
        """The newest run, if it is over."""
        found = await handle.describe()
        return found.run_id if found.status is WorkflowExecutionStatus.COMPLETED else None

    assert await operate(shop.stack, "subscriptions", "wake", made) == (0, f"subscription-{made} runs already")
    assert (await shop.test.post(f"{PATH}/{made}/cancel")).status_code == 200
    first = await until(ended, "the end")
    before = (await shop.test.get(f"{PATH}/{made}")).json()

    woken = await operate(shop.stack, "subscriptions", "wake", made)
    assert woken == (0, f"subscription-{made} begins again from the books")

    async def again() -> bool:
        return await ended() not in {None, first}

    await until(again, "the second end")
    assert (await shop.test.get(f"{PATH}/{made}")).json() == before
