"""Webhook endpoints as records: each write with its audit row."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import audit, registry_audit
from db.engine import as_merchant
from db.rows import ENDPOINT_COLUMNS, to_endpoint
from domain.event import Dialect, Endpoint
from domain.ids import ENDPOINT, SECRET_OF_ENDPOINT, new_id

_NEW = text(
    "insert into webhook_endpoints (id, merchant_id, url, events, dialect, description, is_sandbox, updated_at)"
    " values (:id, :merchant, :url, :events, :dialect, :description, :sandbox, now())"
    f" returning {ENDPOINT_COLUMNS}"
)
_NEW_SECRET = text(
    "insert into webhook_secrets (id, merchant_id, endpoint_id, sealed) values (:id, :merchant, :endpoint, :sealed)"
)


def new_endpoint_id() -> str:
    """Made before the row, because the sealed secrets are bound to it."""
    return new_id(ENDPOINT)


class Endpoints:
    """One merchant's webhook endpoints, as the application's role. `asked_by` is the API key's id."""

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
        request_id: str | None = None,
    ) -> Endpoint:
        """A new receiver with its first secret."""
        values = {
            "id": endpoint_id,
            "merchant": merchant_id,
            "url": url,
            "events": events,
            "dialect": dialect,
            "description": description,
            "sandbox": is_sandbox,
        }
        secret = {
            "id": new_id(SECRET_OF_ENDPOINT),
            "merchant": merchant_id,
            "endpoint": endpoint_id,
            "sealed": sealed,
        }
        async with as_merchant(self._engine, merchant_id) as connection:
            made = to_endpoint((await connection.execute(_NEW, values)).mappings().one())
            await connection.execute(_NEW_SECRET, secret)
            told = registry_audit.endpoint_created(
                merchant_id, made.id, is_sandbox=is_sandbox, key=asked_by, request_id=request_id
            )
            await audit.append(connection, told)
        return made
