"""Webhook deliveries and the bank's health: the writes that are not an invoice's."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import announcing, audit, registry_audit
from db.endpoint_health import EndpointHealth
from db.engine import as_merchant
from db.rows import CONNECTION_COLUMNS, to_connection
from domain.event import Attempted, AttemptOutcome, DeliveryState, DueDelivery, EventType, NotSent
from domain.invoice import DeliveryRef
from domain.merchant import Health
from domain.rendering import Renderer

_DUE = text(
    "select d.id, d.event_id, e.type as event_type, d.endpoint_id, w.url, w.is_sandbox, w.signing_key_sealed, d.body,"
    " d.state, d.attempts, d.failures, w.enabled as endpoint_enabled, w.deleted_at is not null as endpoint_deleted,"
    " array(select s.sealed from webhook_secrets s where s.endpoint_id = w.id"
    "   and (s.expires_at is null or s.expires_at > now()) order by s.created_at desc, s.id) as secrets_sealed"
    " from deliveries d join webhook_endpoints w on w.id = d.endpoint_id and w.merchant_id = d.merchant_id"
    " join events e on e.id = d.event_id where d.merchant_id = :merchant and d.id = :id"
)
_ATTEMPT = text(
    "insert into delivery_attempts (delivery_id, number, merchant_id, status, error, latency_ms, response_excerpt, url,"
    " request_headers) values (:id, :number, :merchant, :status, :error, :latency_ms, :excerpt, :url,"
    " cast(:headers as jsonb)) on conflict (delivery_id, number) do nothing"
)
_OUTCOME = text(
    "update deliveries set attempts = attempts + 1, last_status = :status, last_error = :error,"
    " failures = case when :delivered then failures else failures + 1 end,"
    " state = case when :delivered then 'delivered' when :dead then 'dead' else state end,"
    " delivered_at = case when :delivered then coalesce(delivered_at, now()) else delivered_at end,"
    " next_attempt_at = case when :delivered or :dead then null"
    "   else now() + make_interval(secs => cast(:wait as double precision)) end"
    " where merchant_id = :merchant and id = :id and state = 'pending'"
    " returning state, attempts, endpoint_id"
)
_DEAD = text(
    "update deliveries set state = 'dead', next_attempt_at = null, last_error = :why, last_status = null"
    " where merchant_id = :merchant and id = :id and state = 'pending'"
)
_REPLAY = text(
    "update deliveries set state = 'pending', failures = 0, next_attempt_at = now(), replay = :cause,"
    " replayed_at = now() where merchant_id = :merchant and id = :id and replay is distinct from :cause"
)
_CLOCK = text("select clock_timestamp()")
# Announced, but nobody tried to deliver: the poller died between its commit and its report.
_ORPHANS = text(
    "select d.id, d.endpoint_id from events e join deliveries d on d.event_id = e.id"
    " where e.merchant_id = :merchant and e.object_id = :id and e.cause = :cause"
    " and d.state = 'pending' and d.attempts = 0 and not d.id = any(:telling) order by d.endpoint_id"
)
_HEALTH = text(f"select {CONNECTION_COLUMNS}, health_sequence, active from connections where id = :id for update")
_HEALTH_OK = text("update connections set last_ok_at = now() where id = :id")
_HEALTH_CHANGED = text(
    "update connections set health = :health, health_reason = :reason, health_changed_at = now(),"
    " health_sequence = health_sequence + 1,"
    " last_ok_at = case when :health = 'connected' then now() else last_ok_at end"
    f" where id = :id returning {CONNECTION_COLUMNS}, health_sequence"
)


class Deliveries:
    """Reads what is due and books what became of it; raises `DatabaseUnavailable`."""

    def __init__(self, engine: AsyncEngine, renderer: Renderer) -> None:
        self._engine = engine
        self._renderer = renderer

    async def due(self, merchant_id: str, delivery_id: str) -> DueDelivery | None:
        """All that one attempt needs."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_DUE, {"merchant": merchant_id, "id": delivery_id})
            row = found.mappings().one_or_none()
        return None if row is None else msgspec.convert(row, DueDelivery)

    async def attempted(
        self, merchant_id: str, delivery_id: str, outcome: AttemptOutcome, *, disable_after: float
    ) -> Attempted:
        """Books one attempt and what it says of the endpoint; on a settled delivery it changes nothing.

        `disable_after` is the seconds of nothing but failures that disable an endpoint (`domain.endpoint_health`).
        """
        values = {
            "merchant": merchant_id,
            "id": delivery_id,
            "status": outcome.status,
            "error": outcome.error,
            "delivered": outcome.delivered,
            "dead": outcome.dead,
            "wait": outcome.wait or 0.0,
        }
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_OUTCOME, values)).one_or_none()
            if row is None:
                settled = (await connection.execute(_DUE, {"merchant": merchant_id, "id": delivery_id})).one()
                return Attempted(state=DeliveryState(settled.state), attempts=settled.attempts)
            values |= {
                "number": row.attempts,
                "latency_ms": outcome.latency_ms,
                "excerpt": outcome.excerpt,
                "url": outcome.url,
                "headers": msgspec.json.encode(outcome.request_headers).decode(),
            }
            await connection.execute(_ATTEMPT, values)
            health = EndpointHealth(connection, self._renderer, merchant_id, row.endpoint_id)
            if outcome.delivered:
                news = await health.succeeded()
            elif outcome.ours:
                news = []
            else:
                news = await health.failed(gone=outcome.gone, limit=disable_after, delivery_id=delivery_id)
        return Attempted(state=DeliveryState(row.state), attempts=row.attempts, retry_after=outcome.wait, news=news)

    async def give_up(self, merchant_id: str, delivery_id: str, why: NotSent) -> None:
        """Marks a pending delivery dead without an attempt."""
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(_DEAD, {"merchant": merchant_id, "id": delivery_id, "why": why})

    async def replay(self, merchant_id: str, delivery_id: str, cause: str) -> None:
        """Makes a delivery pending again, with the whole schedule before it; once for each `cause`."""
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(_REPLAY, {"merchant": merchant_id, "id": delivery_id, "cause": cause})

    async def test(self, merchant_id: str, endpoint_id: str, *, is_sandbox: bool, cause: str) -> list[DeliveryRef]:
        """Writes a `webhook.test` event for one endpoint; the same cause gives the same delivery."""
        async with as_merchant(self._engine, merchant_id) as connection:
            due = await announcing.due_of_cause(connection, merchant_id=merchant_id, object_id=endpoint_id, cause=cause)
            if due:
                return due
            now = (await connection.execute(_CLOCK)).scalar_one()
            return await announcing.announce_test(
                connection,
                self._renderer,
                merchant_id=merchant_id,
                endpoint_id=endpoint_id,
                is_sandbox=is_sandbox,
                cause=cause,
                now=now,
            )

    async def connection_health(
        self,
        merchant_id: str,
        connection_id: str,
        health: Health,
        reason: str | None,
        *,
        retell: bool = False,
        telling: list[str] | None = None,
    ) -> list[DeliveryRef]:
        """Books how the bank answers; a change is an event, the same health again, or that of a retired link, is not.

        `retell` gives, where nothing changed, the last event's deliveries that nobody has tried and that are not
        among those of `telling`.
        """
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_HEALTH, {"id": connection_id})).mappings().one()
            if not row["active"]:
                return []
            if (row["health"], row["health_reason"]) == (health, reason):
                if health is Health.CONNECTED:
                    await connection.execute(_HEALTH_OK, {"id": connection_id})
                if not retell:
                    return []
                cause = f"health:{row['health_sequence']}"
                values = {"merchant": merchant_id, "id": connection_id, "cause": cause, "telling": telling or []}
                found = await connection.execute(_ORPHANS, values)
                return [DeliveryRef(id=one.id, endpoint_id=one.endpoint_id) for one in found]
            before = (row["health"], row["health_reason"])
            changed = await connection.execute(
                _HEALTH_CHANGED, {"id": connection_id, "health": health, "reason": reason}
            )
            row = changed.mappings().one()
            after = to_connection({name: row[name] for name in row if name != "health_sequence"})
            due = await announcing.announce(
                connection,
                self._renderer,
                after,
                type_=EventType.KASPI_SESSION_CHANGED,
                sequence=row["health_sequence"],
                cause=f"health:{row['health_sequence']}",
                is_sandbox=False,
                now=after.health_changed_at,
            )
            told = registry_audit.connection_health(merchant_id, connection_id, before, (health, reason))
            await audit.append(connection, told)
        return due
