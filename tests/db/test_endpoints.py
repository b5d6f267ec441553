"""Webhook endpoints as records: limits, changes, soft deletion, health, dialects, and whose they are."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest

from db.endpoints import Asker, EndpointChanges
from db.errors import TooManyEndpoints
from domain.event import AttemptOutcome, Dialect, DisabledReason
from domain.invoice import State
from tests.db.books import Books, Shop, at_once, waiting_for_a_lock
from tests.db.hooks import DAY, URL, acts, asker, due, ill, made, rotated

# --- limits


async def test_the_limit_of_endpoints_counts_the_living_of_one_merchant(books: Books, shop: Shop) -> None:
    async def attempt(_: int) -> str | None:
        try:
            return (await made(shop, most=3)).id
        except TooManyEndpoints:
            return None

    ids = [one for one in await at_once(9, attempt) if one is not None]
    assert len(ids) == 3
    await made(await books.merchant(), most=3)  # another merchant has room
    assert await books.endpoints.delete(asker(shop), ids[0]) is not None
    assert await attempt(0) is not None
    assert await attempt(0) is None


# --- changing


async def test_only_what_is_given_changes(shop: Shop) -> None:
    before = await made(shop, description="Orders")
    changes = EndpointChanges(events=["invoice.*"], dialect=Dialect.APIPAY)
    detail = await shop.books.endpoints.change(asker(shop), before.id, changes)
    assert detail is not None
    after = detail.endpoint
    assert (after.events, after.dialect) == (["invoice.*"], Dialect.APIPAY)
    assert (after.url, after.description, after.created_at) == (before.url, "Orders", before.created_at)
    assert after.updated_at > before.updated_at
    cleared = await shop.books.endpoints.change(asker(shop), before.id, EndpointChanges(description=None))
    assert cleared is not None
    assert cleared.endpoint.description is None
    assert cleared.endpoint.events == ["invoice.*"]


async def test_a_new_url_starts_without_the_failures_of_the_old_one_and_nothing_else_does(shop: Shop) -> None:
    endpoint = await made(shop)
    await ill(shop, endpoint.id)
    for changes in (EndpointChanges(events=["invoice.*"]), EndpointChanges(url=URL)):
        still = await shop.books.endpoints.change(asker(shop), endpoint.id, changes)
        assert still is not None
        assert still.endpoint.failing_since is not None
        assert still.endpoint.failing_percent == 60
    moved = await shop.books.endpoints.change(asker(shop), endpoint.id, EndpointChanges(url="https://new.example/hook"))
    assert moved is not None
    assert (moved.endpoint.failing_since, moved.endpoint.failing_percent) == (None, 0)
    row = (await shop.books.fetch("select * from webhook_endpoints where id = :id", id=endpoint.id))[0]
    assert row["failing_seconds"] == 0


async def test_what_changes_nothing_writes_nothing(shop: Shop) -> None:
    before = await made(shop)
    for changes in (EndpointChanges(), EndpointChanges(url=before.url, events=before.events, description=None)):
        same = await shop.books.endpoints.change(asker(shop), before.id, changes)
        assert same is not None
        assert same.endpoint == before
    same = await shop.books.endpoints.enable(asker(shop), before.id)
    assert same is not None
    assert same.endpoint == before
    assert len(await acts(shop, before.id)) == 1


async def test_a_change_that_waits_for_its_turn_holds_up_no_booking(books: Books, shop: Shop) -> None:
    endpoint = await made(shop)
    other = await asyncpg.connect(books.database.dsn("tolem_app"))
    try:
        async with other.transaction():
            # The merchant's audit chain is held, so the change has the endpoint's row, and waits.
            await other.execute("select set_config('app.merchant', $1, true)", shop.id)
            await other.execute("select pg_advisory_xact_lock(hashtextextended('audit:' || $1, 0))", shop.id)
            change = EndpointChanges(description="x")
            waiting = asyncio.create_task(books.endpoints.change(asker(shop), endpoint.id, change))
            await waiting_for_a_lock(books, "insert into audit_log")
            # What the foreign key of a new delivery takes.
            await other.execute("select 1 from webhook_endpoints where id = $1 for key share nowait", endpoint.id)
        await waiting
    finally:
        await other.close()


async def test_changes_at_one_time_lose_none_of_each_other(shop: Shop) -> None:
    endpoint = await made(shop)
    await asyncio.gather(
        shop.books.endpoints.change(asker(shop), endpoint.id, EndpointChanges(url="https://new.example")),
        shop.books.endpoints.change(asker(shop), endpoint.id, EndpointChanges(events=["refund.*"])),
        shop.books.endpoints.change(asker(shop), endpoint.id, EndpointChanges(description="x")),
        shop.books.endpoints.disable(asker(shop), endpoint.id),
    )
    after = await shop.books.reads.endpoint(shop.id, endpoint.id)
    assert after is not None
    assert (after.url, after.events, after.description) == ("https://new.example", ["refund.*"], "x")
    assert after.disabled_reason is DisabledReason.MERCHANT


# --- enabling and disabling


async def test_a_disabled_endpoint_gets_nothing_until_it_is_enabled_and_then_starts_well(shop: Shop) -> None:
    endpoint = await made(shop)
    await ill(shop, endpoint.id)
    waiting = await due(shop, endpoint.id)
    disabled = await shop.books.endpoints.disable(asker(shop), endpoint.id)
    assert disabled is not None
    assert (disabled.endpoint.enabled, disabled.endpoint.disabled_reason) == (False, DisabledReason.MERCHANT)
    assert disabled.endpoint.disabled_at is not None
    invoice = await shop.pending()
    assert (await shop.book(invoice.id, "paid", State.PAID)).deliveries == []
    found = await shop.books.deliveries.due(shop.id, waiting.id)
    assert found is not None
    assert not found.endpoint_enabled

    enabled = await shop.books.endpoints.enable(asker(shop), endpoint.id)
    assert enabled is not None
    assert (enabled.endpoint.enabled, enabled.endpoint.disabled_at, enabled.endpoint.disabled_reason) == (
        True,
        None,
        None,
    )
    assert (enabled.endpoint.failing_since, enabled.endpoint.failing_percent) == (None, 0)
    await due(shop, endpoint.id)


async def test_disabling_what_we_disabled_keeps_our_reason(shop: Shop) -> None:
    endpoint = await made(shop)
    ref = await due(shop, endpoint.id)
    gone = AttemptOutcome(
        delivered=False, status=410, error="http_status", latency_ms=5, excerpt="", dead=True, wait=None, gone=True
    )
    await shop.books.attempted(shop.id, ref.id, gone, disable_after=1e6)
    before = await acts(shop, endpoint.id)
    for _ in range(2):
        same = await shop.books.endpoints.disable(asker(shop), endpoint.id)
        assert same is not None
        assert same.endpoint.disabled_reason is DisabledReason.GONE
    assert await acts(shop, endpoint.id) == before


# --- deleting


async def test_a_deleted_endpoint_is_gone_for_everybody_but_its_deliveries(shop: Shop) -> None:
    endpoint = await made(shop, public_key="whpk_x", signing_key_sealed=b"key")
    ref = await due(shop, endpoint.id)
    assert await shop.books.endpoints.delete(asker(shop), endpoint.id) is not None
    assert await shop.books.endpoints.delete(asker(shop), endpoint.id) is None
    assert await shop.books.endpoints.read(shop.id, endpoint.id, sandbox_only=False) is None
    assert await shop.books.reads.endpoint(shop.id, endpoint.id) is None
    assert await shop.books.reads.endpoints(shop.id, sandbox_only=False) == []
    invoice = await shop.pending()
    assert (await shop.book(invoice.id, "paid", State.PAID)).deliveries == []
    found = await shop.books.deliveries.due(shop.id, ref.id)
    assert found is not None
    assert found.endpoint_deleted
    # Nothing that could still sign stays behind.
    assert found.secrets_sealed == []
    assert found.signing_key_sealed is None


# --- whose it is

Deed = Callable[[Asker, str], Awaitable[object]]


def deeds(books: Books) -> dict[str, Deed]:
    endpoints = books.endpoints
    return {
        "change": lambda who, id_: endpoints.change(who, id_, EndpointChanges(url="https://evil.example")),
        "enable": endpoints.enable,
        "disable": endpoints.disable,
        "rotate": lambda who, id_: endpoints.rotate(who, id_, sealed=b"x", overlap=DAY, most=10),
        "delete": endpoints.delete,
        "read": lambda who, id_: endpoints.read(who.merchant_id, id_, sandbox_only=who.sandbox_only),
    }


@pytest.mark.parametrize("deed", ["change", "enable", "disable", "rotate", "delete", "read"])
async def test_anothers_endpoint_does_not_exist_and_a_test_key_has_sandbox_endpoints_only(
    books: Books, shop: Shop, deed: str
) -> None:
    act, other = deeds(books)[deed], await books.merchant()
    live, sandbox = await made(shop), await made(shop, sandbox=True)
    stands = "select * from webhook_endpoints where merchant_id = :id order by id"
    before = await books.fetch(stands, id=shop.id)
    assert await act(asker(other), live.id) is None
    assert await act(asker(shop, sandbox_only=True), live.id) is None
    assert await act(asker(shop), "whe_nobody") is None
    assert await books.fetch(stands, id=shop.id) == before
    assert len(await acts(shop, live.id)) == 1
    assert await act(asker(shop, sandbox_only=True), sandbox.id) is not None


# --- the audit log


async def test_each_act_has_its_row_and_no_row_tells_a_url_or_a_secret(shop: Shop) -> None:
    endpoint = await made(shop, description="HUSH-HUSH")
    await shop.books.endpoints.change(
        asker(shop), endpoint.id, EndpointChanges(url="https://new.example/?token=HUSH", description="HUSH too")
    )
    await rotated(shop, endpoint.id, b"HUSH", timedelta(hours=48))
    await shop.books.endpoints.disable(asker(shop), endpoint.id)
    await shop.books.endpoints.enable(asker(shop), endpoint.id)
    await shop.books.endpoints.delete(asker(shop), endpoint.id)
    rows = await acts(shop, endpoint.id)
    assert [(row["action"], row["before"], row["after"], row["note"]) for row in rows] == [
        ("webhook_endpoint.created", None, "enabled", None),
        ("webhook_endpoint.updated", None, None, "url, description"),
        ("webhook_endpoint.secret_rotated", None, None, "overlap 48 h"),
        ("webhook_endpoint.disabled", "enabled", "disabled/merchant", None),
        ("webhook_endpoint.enabled", "disabled/merchant", "enabled", None),
        ("webhook_endpoint.deleted", "enabled", "deleted", None),
    ]
    assert all((row["actor_kind"], row["actor_id"], row["is_sandbox"]) == ("key", "key_1", False) for row in rows)
    assert [row["request_id"] for row in rows[1:]] == ["req_7"] * 5
    assert "HUSH" not in str([list(row.values()) for row in rows])
    assert "example" not in str([list(row.values()) for row in rows])


# --- dialects


async def test_an_apipay_endpoint_is_told_of_what_apipay_tells_in_its_words(shop: Shop) -> None:
    ours, theirs = await made(shop), await made(shop, dialect=Dialect.APIPAY)
    invoice = await shop.pending()
    scanned = await shop.book(invoice.id, "scanned", State.PROCESSING)
    assert [one.endpoint_id for one in scanned.deliveries] == [ours.id]
    paid = await shop.book(invoice.id, "paid", State.PAID)
    assert {one.endpoint_id for one in paid.deliveries} == {ours.id, theirs.id}
    rows = await shop.books.fetch(
        "select body from deliveries where endpoint_id = :id and event_id in"
        " (select id from events where object_id = :invoice)",
        id=theirs.id,
        invoice=invoice.id,
    )
    bodies = [json.loads(bytes(row["body"])) for row in rows]
    assert [(body["event"], body["invoice"]["id"], body["invoice"]["status"]) for body in bodies] == [
        ("invoice.status_changed", invoice.number, "paid")
    ]
