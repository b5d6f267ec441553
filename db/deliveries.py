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

# Seconds: a wish that came during an attempt is seen to at once.
WISHED_WAIT = 0.5
# What is left of somebody else's claim: where it came in this very moment, and where it is about to end.
HELD_NOW = 5.0
HELD_AT_LEAST = 0.5

_DUE_COLUMNS = (
    "d.id, d.event_id, e.type as event_type, d.replay,"
    " extract(epoch from d.next_attempt_at - now())::double precision as due_in,"
    " d.endpoint_id, w.url, w.is_sandbox, w.signing_key_sealed,"
    " d.body, d.state, d.attempts, d.failures, w.enabled as endpoint_enabled,"
    " w.deleted_at is not null as endpoint_deleted,"
    " array(select s.sealed from webhook_secrets s where s.endpoint_id = w.id"
    "   and (s.expires_at is null or s.expires_at > now()) order by s.created_at desc, s.id) as secrets_sealed"
)
_DUE_FROM = (
    "deliveries d join webhook_endpoints w on w.id = d.endpoint_id and w.merchant_id = d.merchant_id"
    " join events e on e.id = d.event_id"
)
_DUE = text(f"select {_DUE_COLUMNS} from {_DUE_FROM} where d.merchant_id = :merchant and d.id = :id")
# Whoever comes second waits for the first one's claim, and then matches nothing; its select still sees the row as it
# was before. So "pending, and not taken" means held, whatever the row says.
_CLAIM = text(
    "with taken as (update deliveries set claimed_by = :by,"
    "   claimed_until = now() + make_interval(secs => cast(:seconds as double precision))"
    "   where merchant_id = :merchant and id = :id and state = 'pending'"
    "   and (claimed_until is null or claimed_until <= now() or claimed_by = :by) returning id)"
    " select taken.id is not null as taken, extract(epoch from d.claimed_until - now())::double precision as held,"
    f" {_DUE_COLUMNS} from {_DUE_FROM} left join taken on taken.id = d.id"
    " where d.merchant_id = :merchant and d.id = :id"
)
_RELEASED = (
    "claimed_until = case when claimed_by = cast(:by as text) then null else claimed_until end,"
    " claimed_by = nullif(claimed_by, cast(:by as text))"
)
# For who finds the delivery other than it was claimed, and books nothing: whoever comes next must not wait for that.
_RELEASE = text(f"update deliveries set {_RELEASED} where merchant_id = :merchant and id = :id and claimed_by = :by")
_ATTEMPT = text(
    "insert into delivery_attempts (delivery_id, number, merchant_id, status, error, latency_ms, response_excerpt, url,"
    " request_headers) values (:id, :number, :merchant, :status, :error, :latency_ms, :excerpt, :url,"
    " cast(:headers as jsonb)) on conflict (delivery_id, number) do nothing"
)
# A wish to send again that came while this attempt was under way (`replay`) outlives its failure: it is due at once. A
# success counts whatever has been given up meanwhile. `again`: this booking is repeated, its first answer was lost.
_OUTCOME = text(
    f"update deliveries set attempts = attempts + 1, {_RELEASED},"
    " failures = case when state <> 'pending' or :delivered or replay is distinct from cast(:replay as text)"
    "   then failures else failures + 1 end,"
    " last_status = case when state = 'pending' or :delivered then :status else last_status end,"
    " last_error = case when state = 'pending' or :delivered then :error else last_error end,"
    " delivered_at = case when :delivered then coalesce(delivered_at, now()) else delivered_at end,"
    " next_attempt_at = case when :delivered then null when state <> 'pending' then next_attempt_at"
    "   when replay is distinct from cast(:replay as text) then now() when :dead then null"
    "   else now() + make_interval(secs => cast(:wait as double precision)) end,"
    " state = case when :delivered then 'delivered'"
    "   when state = 'pending' and :dead and replay is not distinct from cast(:replay as text) then 'dead'"
    "   else state end"
    " where merchant_id = :merchant and id = :id"
    " and (not :again or attempts = :seen or (:delivered and state <> 'delivered'))"
    " returning state, attempts, endpoint_id, replay is distinct from cast(:replay as text) as wished"
)
_DEAD = text(
    f"update deliveries d set {_RELEASED}, state = 'dead', next_attempt_at = null, last_error = :why,"
    " last_status = null"
    " from webhook_endpoints w where w.id = d.endpoint_id and d.merchant_id = :merchant and d.id = :id"
    " and d.state = 'pending' and d.replay is not distinct from cast(:replay as text)"
    " and (not w.enabled or w.deleted_at is not null) returning d.id"
)
# Turned away for want of a place: no attempt. A line that moves too slowly for the whole of a schedule has an end, too.
_POSTPONED = text(
    f"update deliveries set {_RELEASED},"
    " next_attempt_at = case when coalesce(replayed_at, created_at) < now() - make_interval(secs => :patience)"
    "   then null else now() + make_interval(secs => :wait) end,"
    " last_error = case when coalesce(replayed_at, created_at) < now() - make_interval(secs => :patience)"
    "   then :why else last_error end,"
    " state = case when coalesce(replayed_at, created_at) < now() - make_interval(secs => :patience)"
    "   then 'dead' else state end"
    " where merchant_id = :merchant and id = :id and state = 'pending' returning state, attempts"
)
_CLOCK = text("select clock_timestamp()")
# Announced, but nobody tried to deliver: the poller died between its commit and its report.
_ORPHANS = text(
    "select d.id, d.endpoint_id from events e join deliveries d on d.event_id = e.id"
    " where e.merchant_id = :merchant and e.object_id = :id and e.cause = :cause"
    " and d.state = 'pending' and d.attempts = 0 and not d.id = any(:telling) order by d.endpoint_id"
)
_HEALTH = text(
    f"select {CONNECTION_COLUMNS}, health_sequence, active from connections where id = :id for no key update"
)
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

    async def claim(self, merchant_id: str, delivery_id: str, *, by: str, seconds: float) -> DueDelivery | None:
        """As `due`, and the right to make its next attempt, for so long, in the name of `by`; `held_for` where somebody
        else has it. What is settled is claimed by nobody. Booking an attempt gives the right back.
        """
        values = {"merchant": merchant_id, "id": delivery_id, "by": by, "seconds": seconds}
        # A crash of Postgres may forget the claims of its last moment: at worst one request twice, with the same id.
        async with as_merchant(self._engine, merchant_id, lasting=False) as connection:
            row = (await connection.execute(_CLAIM, values)).mappings().one_or_none()
        if row is None:
            return None
        due = msgspec.convert(row, DueDelivery)
        if row["taken"]:
            return msgspec.structs.replace(due, claimed_by=by)
        if due.state is not DeliveryState.PENDING:
            return due
        return msgspec.structs.replace(due, held_for=max(row["held"] or HELD_NOW, HELD_AT_LEAST))

    async def attempted(
        self, due: DueDelivery, merchant_id: str, outcome: AttemptOutcome, *, disable_after: float, again: bool = False
    ) -> Attempted:
        """Books one request, what became of the delivery, and what it says of the endpoint.

        Every request is counted and kept, also one that comes back when the delivery is settled. A settled one stays,
        but for a success of what was given up. `due` is the delivery as it was read before the request. `again`: the
        booking is repeated, because nobody knows what became of it. `disable_after` is the seconds of nothing but
        failures that disable an endpoint (`domain.endpoint_health`).
        """
        values = {
            "merchant": merchant_id,
            "id": due.id,
            "status": outcome.status,
            "error": outcome.error,
            "delivered": outcome.delivered,
            "dead": outcome.dead,
            "wait": outcome.wait or 0.0,
            "replay": due.replay,
            "seen": due.attempts,
            "again": again,
            "by": due.claimed_by,
        }
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_OUTCOME, values)).one_or_none()
            if row is None:  # it was booked after all
                settled = (await connection.execute(_DUE, {"merchant": merchant_id, "id": due.id})).one()
                wait = None if settled.state != DeliveryState.PENDING else outcome.wait
                return Attempted(state=DeliveryState(settled.state), attempts=settled.attempts, retry_after=wait)
            values |= {
                "number": row.attempts,
                "latency_ms": outcome.latency_ms,
                "excerpt": outcome.excerpt,
                "url": outcome.url,
                "headers": msgspec.json.encode(outcome.request_headers).decode(),
            }
            await connection.execute(_ATTEMPT, values)
            health = EndpointHealth(connection, self._renderer, merchant_id, row.endpoint_id, url=outcome.url)
            if outcome.delivered:
                news = await health.succeeded()
            elif outcome.ours:
                news = []
            else:
                news = await health.failed(gone=outcome.gone, limit=disable_after, delivery_id=due.id)
        wait = WISHED_WAIT if row.wished else outcome.wait
        pending = row.state == DeliveryState.PENDING
        return Attempted(
            state=DeliveryState(row.state), attempts=row.attempts, retry_after=wait if pending else None, news=news
        )

    async def give_up(self, due: DueDelivery, merchant_id: str, why: NotSent) -> None:
        """Marks a delivery dead without an attempt, where its endpoint still is as `due` says, and nobody wished it."""
        values = {"merchant": merchant_id, "id": due.id, "why": why, "replay": due.replay, "by": due.claimed_by}
        async with as_merchant(self._engine, merchant_id) as connection:
            if (await connection.execute(_DEAD, values)).one_or_none() is None:
                await connection.execute(_RELEASE, values)

    async def postponed(self, due: DueDelivery, merchant_id: str, wait: float, *, patience: float) -> Attempted:
        """No place was free: it is tried again after `wait` seconds, or dead where it is older than `patience`."""
        values = {
            "merchant": merchant_id,
            "id": due.id,
            "wait": wait,
            "patience": patience,
            "why": NotSent.ENDPOINT_TOO_SLOW,
            "by": due.claimed_by,
        }
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_POSTPONED, values)).one_or_none()
            if row is None:
                await connection.execute(_RELEASE, values)
        if row is None:
            return Attempted(state=DeliveryState.PENDING, attempts=due.attempts, retry_after=0.1)  # settled: read again
        dead = row.state == DeliveryState.DEAD
        return Attempted(state=DeliveryState(row.state), attempts=row.attempts, retry_after=None if dead else wait)

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
