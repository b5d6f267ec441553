"""A reconciliation whose worker dies after anything it does, or goes on beside its successor."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.reconciling import Reconcile, Reconciling
from tests.activities.desk import Desk
from tests.support.discrepancies import wrong_conclusions


@pytest.mark.parametrize("after", range(1, 9))
async def test_a_crash_at_any_write_loses_and_doubles_nothing(desk: Desk, after: int) -> None:
    planter = await desk.planter()
    planted = await planter.plant(3, 8)
    run = await desk.open()
    crash = Crashing(desk, after)
    activity = crash.activity()
    order = Reconcile(merchant_id=run.merchant_id, reconciliation_id=run.id)
    with pytest.raises(Died):
        await ActivityEnvironment().run(activity.walk, order)
    assert (await desk.walk(run)).over
    ended, lines = await desk.result(run)
    assert wrong_conclusions(planted, lines) == []
    assert sum(tally.count for tally in ended.totals.bank.values()) == 11
    for one in planted:
        told = [event for event in await desk.shop.events(one.invoice_id) if event["type"] != "invoice.refunded"]
        assert len(told) == (0 if one.verdict is None else 1), one


class Died(BaseException):
    """The process is gone."""


class Crashing:
    """A worker that dies at the n-th thing it does beside reading: after it was done, before anybody heard."""

    def __init__(self, desk: Desk, after: int) -> None:
        self._desk, self._left = desk, after

    def activity(self) -> Reconciling:
        made = self._desk.activity()
        for name, methods in (
            ("_records", ("note", "commit", "finish")),
            ("_ledger", ("book",)),
            ("_stories", ("resume", "resume_invoice")),
        ):
            setattr(made, name, _Mortal(getattr(made, name), methods, self._dies))
        return made

    def _dies(self) -> bool:
        self._left -= 1
        return self._left == 0


class _Mortal:
    def __init__(self, real: Any, methods: Sequence[str], dies: Any) -> None:
        self._real, self._methods, self._dies = real, methods, dies

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if name not in self._methods:
            return method

        async def mortal(*args: Any, **more: Any) -> Any:
            done = await method(*args, **more)
            if self._dies():
                raise Died
            return done

        return mortal


async def test_two_at_once_write_each_batch_once(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(20, 8)
    run = await desk.open()
    # A worker that was thought dead goes on beside its successor; where both book the same step, one fails and retries.
    await asyncio.gather(desk.walk(run), desk.walk(run), return_exceptions=True)
    while not (await desk.walk(run)).over:
        pass
    ended, lines = await desk.result(run)
    assert wrong_conclusions(planted, lines) == []
    assert sum(tally.count for tally in ended.totals.bank.values()) == 28
