"""Redeliveries as records: opened once, listed, canceled. What walks through one is `db.redelivery_books`."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import audit
from db.engine import as_merchant
from db.errors import KeyTaken, RedeliveryRuns
from db.kept_answers import KeyedAnswer, keep_answer
from domain.audit import Actor, ActorKind, AuditEntry
from domain.redelivery import Redelivery, RedeliveryState

REDELIVERY_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Redelivery))

_ONE = text(f"select {REDELIVERY_COLUMNS} from redeliveries where merchant_id = :merchant and id = :id")
_RUNNING = text(
    "select id from redeliveries where merchant_id = :merchant and endpoint_id = :endpoint and state = 'running'"
)
_PAGE = text(
    f"select {REDELIVERY_COLUMNS} from redeliveries where merchant_id = :merchant and (is_sandbox or not :sandbox_only)"
    " and (cast(:endpoint as text) is null or endpoint_id = :endpoint)"
    " and (cast(:after as timestamptz) is null or (created_at, id) < (:after, :after_id))"
    " order by created_at desc, id desc limit :limit"
)
_OPEN = text(
    "insert into redeliveries (id, merchant_id, endpoint_id, is_sandbox, kind, since, until, asked_by, created_at)"
    " values (:id, :merchant_id, :endpoint_id, :is_sandbox, :kind, :since, :until, :asked_by, :created_at)"
    f" returning {REDELIVERY_COLUMNS}"
)
_END = text(
    "update redeliveries set state = :state, finished_at = now()"
    " where merchant_id = :merchant and id = :id and state = 'running'"
)


class RedeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first; `has_more` is exact at that moment."""

    items: list[Redelivery]
    has_more: bool


class Redeliveries:
    """One merchant's, as the application's role; each method raises `DatabaseUnavailable`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def open(self, new: Redelivery, *, request_id: str, keyed: KeyedAnswer | None = None) -> Redelivery:
        """Records it, with the answer to keep for its key.

        `KeyTaken`: another answer stands for the key. `RedeliveryRuns` names the one of this endpoint that is not over.
        """
        try:
            async with as_merchant(self._engine, new.merchant_id) as connection:
                return await _open(connection, new, request_id, keyed)
        except IntegrityError as error:
            if "uq_redeliveries_endpoint_id_running" not in str(error.orig):
                raise
        async with as_merchant(self._engine, new.merchant_id) as connection:
            values = {"merchant": new.merchant_id, "endpoint": new.endpoint_id}
            running = (await connection.execute(_RUNNING, values)).scalar_one_or_none()
        if running is None:
            return await self.open(new, request_id=request_id, keyed=keyed)  # it ended meanwhile
        raise RedeliveryRuns(running)

    async def redelivery(self, merchant_id: str, redelivery_id: str) -> Redelivery | None:
        """One redelivery of this merchant."""
        async with as_merchant(self._engine, merchant_id) as connection:
            return await find(connection, merchant_id, redelivery_id)

    async def page(
        self,
        merchant_id: str,
        *,
        sandbox_only: bool,
        endpoint_id: str | None = None,
        after: tuple[datetime, str] | None = None,
        limit: int = 20,
    ) -> RedeliveryPage:
        """One page by keyset, behind the row `after`."""
        values = {
            "merchant": merchant_id,
            "sandbox_only": sandbox_only,
            "endpoint": endpoint_id,
            "after": after[0] if after else None,
            "after_id": after[1] if after else "",
            "limit": limit + 1,
        }
        async with as_merchant(self._engine, merchant_id) as connection:
            rows = (await connection.execute(_PAGE, values)).mappings().all()
        return RedeliveryPage(
            items=[msgspec.convert(row, Redelivery) for row in rows[:limit]], has_more=len(rows) > limit
        )

    async def cancel(
        self, merchant_id: str, redelivery_id: str, *, asked_by: str, request_id: str
    ) -> Redelivery | None:
        """Ends it before the next event; one that is over stays as it is. None where there is none."""
        async with as_merchant(self._engine, merchant_id) as connection:
            values = {"merchant": merchant_id, "id": redelivery_id, "state": RedeliveryState.CANCELED}
            ended = (await connection.execute(_END, values)).rowcount
            stands = await find(connection, merchant_id, redelivery_id)
            if ended and stands is not None:
                actor = Actor(kind=ActorKind.KEY, id=asked_by)
                await audit.append(connection, _entry(stands, actor, RedeliveryState.RUNNING, request_id))
        return stands


async def find(connection: AsyncConnection, merchant_id: str, redelivery_id: str) -> Redelivery | None:
    """In the caller's transaction."""
    found = await connection.execute(_ONE, {"merchant": merchant_id, "id": redelivery_id})
    row = found.mappings().one_or_none()
    return None if row is None else msgspec.convert(row, Redelivery)


async def end(connection: AsyncConnection, stands: Redelivery, state: RedeliveryState) -> None:
    """Ends one that runs, by its own workflow; the last statements of the caller's transaction."""
    values = {"merchant": stands.merchant_id, "id": stands.id, "state": state}
    await connection.execute(_END, values)
    ended = msgspec.structs.replace(stands, state=state)
    actor = Actor(kind=ActorKind.WORKFLOW, id=f"redelivery-{stands.id}")
    await audit.append(connection, _entry(ended, actor, RedeliveryState.RUNNING, None))


async def _open(connection: AsyncConnection, new: Redelivery, request_id: str, keyed: KeyedAnswer | None) -> Redelivery:
    # The key first: a request that was sent twice gets the answer of its twin, not that one is running.
    if keyed is not None and not await keep_answer(connection, new.merchant_id, new.id, keyed):
        raise KeyTaken("another request with this key was faster")
    row = (await connection.execute(_OPEN, msgspec.structs.asdict(new))).mappings().one()
    opened = msgspec.convert(row, Redelivery)
    actor = Actor(kind=ActorKind.KEY, id=opened.asked_by)
    await audit.append(connection, _entry(opened, actor, None, request_id))
    return opened


def _entry(stands: Redelivery, actor: Actor, before: RedeliveryState | None, request_id: str | None) -> AuditEntry:
    return AuditEntry(
        merchant_id=stands.merchant_id,
        actor=actor,
        action=f"webhook_redelivery.{'created' if before is None else stands.state}",
        object_type="webhook_redelivery",
        object_id=stands.id,
        is_sandbox=stands.is_sandbox,
        before=before,
        after=stands.state,
        request_id=request_id,
        note=f"{stands.kind} of {stands.endpoint_id}",
    )
