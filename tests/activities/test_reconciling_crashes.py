"""A reconciliation whose worker dies after anything it does, or goes on beside its successor."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.reconciling import Reconcile, Reconciling
from domain.reconciliation import LineVerdict
from domain.reconciliation_run import Action, Line, Run
from domain.statement import read_statement
from tests.activities.desk import Desk
from tests.support.discrepancies import HEADER, statement_of, wrong_conclusions


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


@pytest.mark.parametrize("after", range(1, 5))
async def test_late_money_of_a_statement_is_told_the_same_whenever_its_finder_died(desk: Desk, after: int) -> None:
    (late,) = await (await desk.planter()).plant(0, 1)
    rows = await statement_of(desk.town.admin, [late.payment_id])
    run = await desk.open(read_statement("\n".join([HEADER, *rows])), days_ago=9)
    order = Reconcile(merchant_id=run.merchant_id, reconciliation_id=run.id)
    with pytest.raises(Died):
        # The first write ends the phase of the payments, of which the period has none.
        await ActivityEnvironment().run(Crashing(desk, 1 + after).activity().walk, order)
    assert (await desk.walk(run)).over
    ended, (line,) = await desk.result(run)
    assert (line.verdict, line.action) == (LineVerdict.PAID_AFTER_CLOSE, Action.BOOKED)
    assert ended.totals.statement[LineVerdict.PAID_AFTER_CLOSE].count == 1


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
    # A worker that was thought dead goes on beside its successor.
    await asyncio.gather(desk.walk(run), desk.walk(run))
    while not (await desk.walk(run)).over:
        pass
    ended, lines = await desk.result(run)
    assert wrong_conclusions(planted, lines) == []
    assert sum(tally.count for tally in ended.totals.bank.values()) == 28


class Held:
    """A gateway of a walker that stands still before some of its calls until the test lets it go on."""

    def __init__(self, real: Any, **before: Callable[..., Awaitable[None]]) -> None:
        self._real, self._before = real, before

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if name not in self._before:
            return method

        async def held(*args: Any, **more: Any) -> Any:
            await self._before[name](*args, **more)
            return await method(*args, **more)

        return held


class Twins:
    """Two walkers of one run: `slow` runs to its end while `fast`, which stands still somewhere, has not come to it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.fast, self.slow = desk.activity(), desk.activity()
        self.slow_is_done = asyncio.Event()

    def hold(self, walker: Reconciling, gateway: str, **before: Callable[..., Awaitable[None]]) -> None:
        setattr(walker, gateway, Held(getattr(walker, gateway), **before))

    async def walk(self) -> tuple[Run, list[Line]]:
        run = await self.desk.open()
        order = Reconcile(merchant_id=run.merchant_id, reconciliation_id=run.id)
        fast = asyncio.create_task(ActivityEnvironment().run(self.fast.walk, order))
        try:
            ends = {(await ActivityEnvironment().run(self.slow.walk, order)).over}
        finally:
            self.slow_is_done.set()
        assert ends | {(await fast).over} == {True, False}, "one writes, and the other sees that it did"
        return await self.desk.result(run)


async def test_a_line_that_is_written_is_not_undone_by_the_note_of_a_slower_walker(desk: Desk) -> None:
    planted = await (await desk.planter()).plant(2, 8)
    twins, written = Twins(desk), asyncio.Event()

    async def before_a_human_is_called(_run: Run, lines: list[Line]) -> None:
        if any(line.verdict is not LineVerdict.PAID_AFTER_CLOSE for line in lines):  # that is noted for its story
            await written.wait()

    async def written_and_not_over(*_: Any) -> None:
        written.set()
        await twins.slow_is_done.wait()

    twins.hold(twins.slow, "_records", note=before_a_human_is_called)
    twins.hold(twins.fast, "_records", finish=written_and_not_over)
    ended, lines = await twins.walk()
    assert wrong_conclusions(planted, lines) == []
    assert sum(tally.count for tally in ended.totals.bank.values()) == 10


async def test_what_another_walker_repaired_between_two_looks_has_its_line(desk: Desk) -> None:
    planted = await (await desk.planter()).plant(2, 8)
    twins, suspected, repaired = Twins(desk), asyncio.Event(), asyncio.Event()

    async def between_two_looks(*_: Any) -> None:
        suspected.set()
        await repaired.wait()

    async def after_the_slow_ones_first_look(*_: Any) -> None:
        await suspected.wait()

    async def all_but_written(*_: Any) -> None:
        repaired.set()
        await twins.slow_is_done.wait()

    twins.hold(twins.slow, "_books", fresh=between_two_looks)
    twins.hold(twins.fast, "_books", fresh=after_the_slow_ones_first_look)
    twins.hold(twins.fast, "_records", commit=all_but_written)
    ended, lines = await twins.walk()
    assert wrong_conclusions(planted, lines) == []
    assert ended.totals.bank[LineVerdict.REFUNDED_OUTSIDE].count == 1
