"""Webhook endpoints as records: each write with its audit row."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import audit, registry_audit
from db.engine import as_merchant
from db.errors import TooManyEndpoints, TooManySecrets
from db.registry_audit import DELETED, DISABLED, ENABLED, EndpointAct
from db.rows import ENDPOINT_COLUMNS, to_endpoint
from domain.audit import standing
from domain.event import Dialect, DisabledReason, Endpoint, EndpointSecret
from domain.ids import ENDPOINT, SECRET_OF_ENDPOINT, new_id

# Of one merchant: every event makes up to so many deliveries, in the transaction that books it.
MAX_ENDPOINTS = 50

_LIVING = text("select count(*) from webhook_endpoints where merchant_id = :merchant and deleted_at is null")
_NEW = text(
    "with numbered as (update merchants set last_endpoint_number = last_endpoint_number + 1 where id = :merchant"
    " returning last_endpoint_number as number)"
    " insert into webhook_endpoints (id, merchant_id, number, url, events, dialect, description, is_sandbox,"
    " public_key, signing_key_sealed, updated_at)"
    " select :id, :merchant, number, :url, :events, :dialect, :description, :sandbox, :public_key, :signing_key, now()"
    f" from numbered returning {ENDPOINT_COLUMNS}"
)
# Not "for update": a booking that makes a delivery holds a key-share lock on the row, and must not wait for us.
_VISIBLE = (
    f"select {ENDPOINT_COLUMNS} from webhook_endpoints where merchant_id = :merchant and id = :id"
    " and deleted_at is null and (not :sandbox_only or is_sandbox)"
)
_READ = text(_VISIBLE)
_LOCKED = text(f"{_VISIBLE} for no key update")
_CHANGE = text(
    "update webhook_endpoints set url = :url, events = :events, dialect = :dialect, description = :description,"
    f" updated_at = now() where id = :id returning {ENDPOINT_COLUMNS}"
)
# Whatever failed so far says nothing of what comes now.
_FORGET_FAILURES = text(
    "update webhook_endpoints set failing_since = null, failing_seconds = 0, failing_percent = 0 where id = :id"
)
_ENABLE = text(
    "update webhook_endpoints set enabled = true, disabled_at = null, disabled_reason = null, updated_at = now()"
    f" where id = :id returning {ENDPOINT_COLUMNS}"
)
_DISABLE = text(
    "update webhook_endpoints set enabled = false, disabled_at = now(), disabled_reason = :reason, updated_at = now()"
    f" where id = :id returning {ENDPOINT_COLUMNS}"
)
_DELETE = text(
    "update webhook_endpoints set deleted_at = now(), updated_at = now(), public_key = null, signing_key_sealed = null"
    " where id = :id"
)
_SECRETS = text(
    "select id, created_at, expires_at from webhook_secrets where endpoint_id = :id"
    " and (expires_at is null or expires_at > now()) order by created_at desc, id"
)
# Times of secrets are those of the statement: of two rotations the one that waited for the lock may have begun first,
# and the order of the secrets is the order of their signatures.
_NEW_SECRET = text(
    "insert into webhook_secrets (id, merchant_id, endpoint_id, sealed, created_at)"
    " values (:id, :merchant, :endpoint, :sealed, clock_timestamp())"
)
_DROP_SECRETS = text("delete from webhook_secrets where endpoint_id = :id")
_DROP_EXPIRED = text("delete from webhook_secrets where endpoint_id = :id and expires_at <= clock_timestamp()")
_IN_FORCE = text("select count(*) as secrets, min(expires_at) as room_at from webhook_secrets where endpoint_id = :id")
_LET_EXPIRE = text(
    "update webhook_secrets set expires_at = clock_timestamp() + make_interval(secs => cast(:seconds as float8))"
    " where endpoint_id = :id and expires_at is null"
)


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Whose wish it is: an API key of the merchant, and whether it sees sandbox endpoints only."""

    merchant_id: str
    key_id: str
    sandbox_only: bool
    request_id: str | None = None


class EndpointChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be other than it was; what is not given stays."""

    url: str | UnsetType = UNSET
    events: list[str] | UnsetType = UNSET
    dialect: Dialect | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class EndpointDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint with its secrets in force, the newest first."""

    endpoint: Endpoint
    secrets: list[EndpointSecret]


def new_endpoint_id() -> str:
    """Made before the row, because the sealed secrets are bound to it."""
    return new_id(ENDPOINT)


class Endpoints:
    """One merchant's webhook endpoints, as the application's role; raises `DatabaseUnavailable`.

    An endpoint that is deleted, another merchant's, or not for the asker's eyes, is None to every method. What changes
    nothing writes nothing, and no audit row.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(
        self,
        merchant_id: str,
        endpoint_id: str,
        *,
        url: str,
        events: list[str],
        is_sandbox: bool,
        sealed: bytes,
        asked_by: str,
        dialect: Dialect = Dialect.V1,
        description: str | None = None,
        public_key: str | None = None,
        signing_key_sealed: bytes | None = None,
        request_id: str | None = None,
        most: int = MAX_ENDPOINTS,
    ) -> Endpoint:
        """A new receiver with its first secret, and with a key of its own where it is to get ed25519 signatures.

        `asked_by` is the API key's id. `TooManyEndpoints`: the merchant has `most` that are not deleted.
        """
        values = {
            "id": endpoint_id,
            "merchant": merchant_id,
            "url": url,
            "events": events,
            "dialect": dialect,
            "description": description,
            "sandbox": is_sandbox,
            "public_key": public_key,
            "signing_key": signing_key_sealed,
        }
        # Counted under the merchant's lock, or two at once would both be the last.
        async with as_merchant(self._engine, merchant_id, lock=merchant_id) as connection:
            if (await connection.execute(_LIVING, {"merchant": merchant_id})).scalar_one() >= most:
                raise TooManyEndpoints(most)
            made = to_endpoint((await connection.execute(_NEW, values)).mappings().one())
            await _add_secret(connection, made, sealed)
            told = registry_audit.endpoint_created(
                merchant_id, made.id, is_sandbox=is_sandbox, key=asked_by, request_id=request_id
            )
            await audit.append(connection, told)
        return made

    async def read(self, merchant_id: str, endpoint_id: str, *, sandbox_only: bool) -> EndpointDetail | None:
        """One endpoint."""
        values = {"merchant": merchant_id, "id": endpoint_id, "sandbox_only": sandbox_only}
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_READ, values)).mappings().one_or_none()
            return None if row is None else await _detail(connection, to_endpoint(row))

    async def change(self, asker: Asker, endpoint_id: str, changes: EndpointChanges) -> EndpointDetail | None:
        """Another URL, other events, words or description. With a new URL the old one's failures are forgotten.

        Deliveries that are under way keep their bytes, and go to the new URL.
        """
        async with self._locked(asker, endpoint_id) as (connection, before):
            if before is None:
                return None
            given = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not UNSET}
            news = {name: value for name, value in given.items() if getattr(before, name) != value}
            if not news:
                return await _detail(connection, before)
            if "url" in news:
                await connection.execute(_FORGET_FAILURES, {"id": before.id})
            fields = {name: getattr(before, name) for name in EndpointChanges.__struct_fields__}
            after = await _write(connection, _CHANGE, before, **(fields | news))
            detail = await _detail(connection, after)
            await _tell(connection, asker, EndpointAct.UPDATED, before, note=", ".join(news))
            return detail

    async def enable(self, asker: Asker, endpoint_id: str) -> EndpointDetail | None:
        """It gets new events again, and starts without the failures that it had."""
        async with self._locked(asker, endpoint_id) as (connection, before):
            if before is None or before.enabled:
                return None if before is None else await _detail(connection, before)
            await connection.execute(_FORGET_FAILURES, {"id": before.id})
            detail = await _detail(connection, await _write(connection, _ENABLE, before))
            await _tell(connection, asker, EndpointAct.ENABLED, before, after=ENABLED)
            return detail

    async def disable(self, asker: Asker, endpoint_id: str) -> EndpointDetail | None:
        """It gets nothing more; one that was disabled already keeps its reason."""
        async with self._locked(asker, endpoint_id) as (connection, before):
            if before is None or not before.enabled:
                return None if before is None else await _detail(connection, before)
            reason = DisabledReason.MERCHANT
            detail = await _detail(connection, await _write(connection, _DISABLE, before, reason=reason))
            await _tell(connection, asker, EndpointAct.DISABLED, before, after=standing(DISABLED, reason))
            return detail

    async def delete(self, asker: Asker, endpoint_id: str) -> Endpoint | None:
        """It is gone, and its secrets with it; its row stays behind its deliveries. Gives it as it was."""
        async with self._locked(asker, endpoint_id) as (connection, before):
            if before is None:
                return None
            await connection.execute(_DROP_SECRETS, {"id": before.id})
            await connection.execute(_DELETE, {"id": before.id})
            await _tell(connection, asker, EndpointAct.DELETED, before, after=DELETED)
            return before

    async def rotate(
        self, asker: Asker, endpoint_id: str, *, sealed: bytes, overlap: timedelta, most: int
    ) -> EndpointDetail | None:
        """A new present secret. The one before it signs for `overlap` more; without any, every older one ends now.

        `TooManySecrets`: `most` are in force, and with this one they would be more.
        """
        async with self._locked(asker, endpoint_id) as (connection, before):
            if before is None:
                return None
            here = {"id": before.id}
            if overlap:
                await connection.execute(_DROP_EXPIRED, here)
                found = (await connection.execute(_IN_FORCE, here)).one()
                if found.secrets >= most:
                    raise TooManySecrets(most, found.room_at)
                await connection.execute(_LET_EXPIRE, here | {"seconds": overlap.total_seconds()})
            else:
                await connection.execute(_DROP_SECRETS, here)
            await _add_secret(connection, before, sealed)
            detail = await _detail(connection, before)
            note = f"overlap {overlap // timedelta(hours=1)} h"
            await _tell(connection, asker, EndpointAct.SECRET_ROTATED, before, note=note)
            return detail

    @asynccontextmanager
    async def _locked(self, asker: Asker, endpoint_id: str) -> AsyncIterator[tuple[AsyncConnection, Endpoint | None]]:
        """A transaction in which nobody else changes the endpoint."""
        values = {"merchant": asker.merchant_id, "id": endpoint_id, "sandbox_only": asker.sandbox_only}
        async with as_merchant(self._engine, asker.merchant_id) as connection:
            row = (await connection.execute(_LOCKED, values)).mappings().one_or_none()
            yield connection, None if row is None else to_endpoint(row)


async def _write(connection: AsyncConnection, statement: Any, endpoint: Endpoint, **values: object) -> Endpoint:
    return to_endpoint((await connection.execute(statement, {"id": endpoint.id, **values})).mappings().one())


async def _add_secret(connection: AsyncConnection, endpoint: Endpoint, sealed: bytes) -> None:
    values = {"merchant": endpoint.merchant_id, "endpoint": endpoint.id, "sealed": sealed}
    await connection.execute(_NEW_SECRET, {"id": new_id(SECRET_OF_ENDPOINT), **values})


async def _detail(connection: AsyncConnection, endpoint: Endpoint) -> EndpointDetail:
    found = (await connection.execute(_SECRETS, {"id": endpoint.id})).mappings()
    return EndpointDetail(endpoint=endpoint, secrets=[msgspec.convert(row, EndpointSecret) for row in found])


async def _tell(
    connection: AsyncConnection,
    asker: Asker,
    act: EndpointAct,
    before: Endpoint,
    *,
    after: str | None = None,
    note: str | None = None,
) -> None:
    told = registry_audit.endpoint_acted(
        act, before, key=asker.key_id, request_id=asker.request_id, after=after, note=note
    )
    await audit.append(connection, told)
