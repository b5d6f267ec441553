"""What an attempt says of its endpoint: health, warnings, and the end; in the attempt's own transaction."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db import announcing, audit, registry_audit
from db.rows import ENDPOINT_COLUMNS, to_endpoint
from domain.endpoint_health import Health, failed
from domain.event import DisabledReason, Endpoint, EventType
from domain.invoice import DeliveryRef
from domain.rendering import Renderer

# Most attempts succeed at an endpoint that is well: then nothing is written but this, at most once a minute.
_WELL = text(
    "update webhook_endpoints set last_success_at = now(), failing_since = null, failing_seconds = 0,"
    " failing_percent = 0 where id = :id and url = :url and (failing_since is not null or last_success_at is null"
    "   or last_success_at < now() - interval '1 minute')"
)
# Not `for update`: a booking that announces something to this endpoint needs its key meanwhile.
_ILL = text(
    "select url, enabled, deleted_at is not null as deleted, failing_seconds, failing_percent,"
    " extract(epoch from now() - failing_since)::double precision as since_first,"
    " extract(epoch from now() - last_failure_at)::double precision as since_last"
    " from webhook_endpoints where id = :id for no key update"
)
_FAILED = text(
    "update webhook_endpoints set failing_since = coalesce(failing_since, now()), last_failure_at = now(),"
    f" failing_seconds = :seconds, failing_percent = :percent where id = :id returning {ENDPOINT_COLUMNS}"
)
_DISABLE = text(
    "update webhook_endpoints set enabled = false, disabled_at = now(), disabled_reason = :reason, updated_at = now()"
    f" where id = :id returning {ENDPOINT_COLUMNS}"
)
_CLOCK = text("select clock_timestamp()")


class EndpointHealth:
    """Of one endpoint, in the caller's transaction; gives the deliveries of the events it writes.

    They go to the merchant's other endpoints: this one does not listen. `url` is the one that was called: what it did
    says nothing of another that the endpoint has got meanwhile.
    """

    def __init__(
        self, connection: AsyncConnection, renderer: Renderer, merchant_id: str, endpoint_id: str, *, url: str | None
    ) -> None:
        self._connection = connection
        self._renderer = renderer
        self._merchant_id = merchant_id
        self._id = endpoint_id
        self._url = url

    async def succeeded(self) -> list[DeliveryRef]:
        """A 2xx: whatever failed before is over."""
        await self._connection.execute(_WELL, {"id": self._id, "url": self._url})
        return []

    async def failed(self, *, gone: bool, limit: float, delivery_id: str) -> list[DeliveryRef]:
        """Anything else. `gone` disables at once, `limit` seconds of nothing else as well."""
        row = (await self._connection.execute(_ILL, {"id": self._id})).one()
        if row.url != self._url:
            return []
        before = Health(failing=row.failing_seconds, percent=row.failing_percent)
        # `last_failure_at` stands for ever, `failing_since` only while there was no success since.
        since_last = row.since_last if row.since_first is not None else None
        verdict = failed(before, since_first=row.since_first, since_last=since_last, limit=limit)
        values = {"id": self._id, "seconds": verdict.health.failing, "percent": verdict.health.percent}
        endpoint = to_endpoint((await self._connection.execute(_FAILED, values)).mappings().one())
        if not row.enabled or row.deleted:
            return []
        if gone or verdict.disable:
            return await self._disable(DisabledReason.GONE if gone else DisabledReason.FAILING, delivery_id)
        if verdict.warning is not None:
            return await self._tell(endpoint, EventType.WEBHOOK_ENDPOINT_FAILING, f"failing:{verdict.warning}")
        return []

    async def _disable(self, reason: DisabledReason, delivery_id: str) -> list[DeliveryRef]:
        found = await self._connection.execute(_DISABLE, {"id": self._id, "reason": reason})
        endpoint = to_endpoint(found.mappings().one())
        news = await self._tell(endpoint, EventType.WEBHOOK_ENDPOINT_DISABLED, f"disabled:{reason}")
        told = registry_audit.endpoint_disabled_by_us(endpoint, reason, delivery_id)
        await audit.append(self._connection, told)
        return news

    async def _tell(self, endpoint: Endpoint, type_: EventType, cause: str) -> list[DeliveryRef]:
        sequence = await announcing.next_sequence(self._connection, self._id)
        return await announcing.announce(
            self._connection,
            self._renderer,
            endpoint.without_path(),
            type_=type_,
            sequence=sequence,
            cause=f"{cause}:{sequence}",
            is_sandbox=endpoint.is_sandbox,
            now=(await self._connection.execute(_CLOCK)).scalar_one(),
            except_endpoint=self._id,
        )
