"""The test clocks of sandbox merchants, as records; each write of a merchant's with its audit row."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import audit
from db.endpoints import Asker
from db.engine import as_merchant
from db.errors import ClockRefused, KeyTaken
from db.kept_answers import KeyedAnswer, keep_answer
from db.rows import CLOCK_COLUMNS, to_clock
from domain.audit import Actor, ActorKind, AuditEntry
from domain.errors import Code
from domain.ids import TEST_CLOCK, new_id
from domain.subscription_record import SubscriptionRef, TestClock

# Each can carry workflows; nobody needs more to try things out.
CLOCKS_PER_MERCHANT = 20

_ONE = f"select {CLOCK_COLUMNS} from test_clocks where merchant_id = :merchant and id = :id and deleted_at is null"
_READ = text(_ONE)
_LOCKED = text(f"{_ONE} for update")
_PAGE = text(
    f"select {CLOCK_COLUMNS} from test_clocks where merchant_id = :merchant and deleted_at is null"
    " order by created_at desc, id desc"
)
_ADD = text(
    "insert into test_clocks (id, merchant_id, name, now_at, updated_at)"
    f" values (:id, :merchant, :name, date_trunc('second', coalesce(:now_at, now())), now()) returning {CLOCK_COLUMNS}"
)
_TARGET = text(
    "update test_clocks set state = 'advancing', target_at = :target, updated_at = now() where id = :id"
    f" and merchant_id = :merchant returning {CLOCK_COLUMNS}"
)
_REACHED = text(
    "update test_clocks set state = 'ready', now_at = target_at, target_at = null, updated_at = now()"
    f" where merchant_id = :merchant and id = :id and target_at = :target returning {CLOCK_COLUMNS}"
)
_DELETE = text(
    "update test_clocks set deleted_at = now(), updated_at = now() where merchant_id = :merchant and id = :id"
)
_CARRIED = text(
    "select id as subscription_id, merchant_id, is_sandbox from subscriptions where merchant_id = :merchant"
    " and test_clock_id = :id and (state in ('active', 'past_due', 'paused') or invoice_id is not null) order by number"
)
_IN_USE = text(
    "select exists (select 1 from subscriptions where merchant_id = :merchant and test_clock_id = :id"
    " and (state in ('active', 'past_due', 'paused') or invoice_id is not null))"
)
_COUNT = text("select count(*) from test_clocks where merchant_id = :merchant and deleted_at is null")

# Of the clock as it stands then: the answer to keep for the request's key.
Answer = Callable[[TestClock], KeyedAnswer]


class TestClocks:
    """As the application's role; raises `DatabaseUnavailable`. A clock that is another merchant's is None."""

    __test__ = False  # no test of pytest's

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(
        self, asker: Asker, name: str, now_at: datetime | None = None, *, answer: Answer | None = None
    ) -> TestClock:
        """A clock that stands at `now_at`, or the present. `ClockRefused` (`limit_reached`) where there are too many.

        `answer` is kept with it; `KeyTaken`: another one stands, and nothing was written.
        """
        async with as_merchant(self._engine, asker.merchant_id, lock=asker.merchant_id) as connection:
            have = (await connection.execute(_COUNT, {"merchant": asker.merchant_id})).scalar_one()
            if have >= CLOCKS_PER_MERCHANT:
                raise ClockRefused(Code.LIMIT_REACHED)
            values = {"id": new_id(TEST_CLOCK), "merchant": asker.merchant_id, "name": name, "now_at": now_at}
            clock = to_clock((await connection.execute(_ADD, values)).mappings().one())
            await _keep(connection, clock, answer)
            await audit.append(connection, _entry(asker, clock, "created"))
        return clock

    async def clock(self, merchant_id: str, clock_id: str) -> TestClock | None:
        """One clock."""
        async with as_merchant(self._engine, merchant_id) as connection:
            return await _one(connection, merchant_id, clock_id)

    async def clocks(self, merchant_id: str) -> list[TestClock]:
        """All there are, newest first."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_PAGE, {"merchant": merchant_id})
            return [to_clock(row) for row in found.mappings()]

    async def advance(
        self, asker: Asker, clock_id: str, to: datetime | timedelta, *, answer: Answer | None = None
    ) -> TestClock | None:
        """Writes down where it is to go; `Engine.advance_clock` moves it. None where there is no such clock.

        `ClockRefused`: it is on its way already (`test_clock_advancing`), or would go back (`illegal_transition`).
        `answer` is kept with it; `KeyTaken`: another one stands, and nothing was written.
        """
        async with as_merchant(self._engine, asker.merchant_id) as connection:
            clock = await _one(connection, asker.merchant_id, clock_id, locked=True)
            if clock is None:
                return None
            if clock.target_at is not None:
                raise ClockRefused(Code.TEST_CLOCK_ADVANCING)
            target = clock.now_at + to if isinstance(to, timedelta) else to
            if target < clock.now_at:
                raise ClockRefused(Code.ILLEGAL_TRANSITION)
            values = {"merchant": asker.merchant_id, "id": clock_id, "target": target}
            clock = to_clock((await connection.execute(_TARGET, values)).mappings().one())
            await _keep(connection, clock, answer)
            await audit.append(connection, _entry(asker, clock, "advanced", note=target.isoformat()))
        return clock

    async def delete(self, asker: Asker, clock_id: str) -> bool:
        """False where there is none. `ClockRefused` (`illegal_transition`) while a subscription on it is not over."""
        named = {"merchant": asker.merchant_id, "id": clock_id}
        async with as_merchant(self._engine, asker.merchant_id) as connection:
            clock = await _one(connection, asker.merchant_id, clock_id, locked=True)
            if clock is None:
                return False
            if clock.target_at is not None:
                raise ClockRefused(Code.TEST_CLOCK_ADVANCING)
            if (await connection.execute(_IN_USE, named)).scalar_one():
                raise ClockRefused(Code.ILLEGAL_TRANSITION)
            await connection.execute(_DELETE, named)
            await audit.append(connection, _entry(asker, clock, "deleted"))
        return True

    async def carried(self, merchant_id: str, clock_id: str) -> list[SubscriptionRef]:
        """The subscriptions on it that are not over, oldest first."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_CARRIED, {"merchant": merchant_id, "id": clock_id})
            return [msgspec.convert(dict(row), SubscriptionRef) for row in found.mappings()]

    async def reached(self, merchant_id: str, clock_id: str, target: datetime) -> TestClock | None:
        """It has arrived there: ready again. One that is ready, or on its way to another target, stays as it is."""
        named = {"merchant": merchant_id, "id": clock_id}
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(_REACHED, named | {"target": target})
            return await _one(connection, merchant_id, clock_id)


async def _one(
    connection: AsyncConnection, merchant_id: str, clock_id: str, *, locked: bool = False
) -> TestClock | None:
    found = await connection.execute(_LOCKED if locked else _READ, {"merchant": merchant_id, "id": clock_id})
    row = found.mappings().one_or_none()
    return None if row is None else to_clock(row)


async def _keep(connection: AsyncConnection, clock: TestClock, answer: Answer | None) -> None:
    if answer is not None and not await keep_answer(connection, clock.merchant_id, clock.id, answer(clock)):
        raise KeyTaken("another answer stands for the key")


def _entry(asker: Asker, clock: TestClock, act: str, note: str | None = None) -> AuditEntry:
    return AuditEntry(
        merchant_id=clock.merchant_id,
        actor=Actor(kind=ActorKind.KEY, id=asker.key_id),
        action=f"test_clock.{act}",
        object_type="test_clock",
        object_id=clock.id,
        is_sandbox=True,
        after=clock.state,
        request_id=asker.request_id,
        note=note,
    )
