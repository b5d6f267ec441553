"""Row-level security, judged over plain connections: our own code is not in the way and cannot help."""
# ruff: noqa: S608 -- statements made of this file's own words

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from db.endpoints import Asker
from db.organizations import Organizations
from db.reconciliations import Reconciliations
from db.redeliveries import Redeliveries
from db.test_clocks import TestClocks
from domain.cart import AskedItem
from domain.event import AttemptOutcome
from domain.ids import new_id
from domain.invoice import State
from domain.merchant import Mode
from domain.rate_limit import RateLimit
from domain.reconciliation import LineVerdict
from domain.reconciliation_run import Line, NewRun, Source, Trigger
from domain.redelivery import Redelivery, RedeliveryKind, RedeliveryState
from domain.refund import RefundState
from domain.statement import Operation, StatementRow
from tests.db.books import BIN, Books, Shop, role
from tests.db.carts import new, paid_cart, stocked
from tests.db.subscriptions import BookedSubscription

REFUSED = asyncpg.InsufficientPrivilegeError


async def furnished(books: Books, name: str) -> Shop:
    """A merchant with rows in every table."""
    shop = await books.merchant()
    hashed = name.encode() * 4 + shop.id.encode()
    await books.registry.add_key(shop.id, Mode.LIVE, name, hashed=hashed, hint="abcd")
    assert await books.reads.authenticate(hashed, RateLimit(60, 60))
    endpoint = await shop.endpoint()
    order = await shop.opened(idempotency_key="k")
    await shop.book(order.invoice_id, "lost", State.FAILED)
    refund = await shop.refund(await shop.paid(), to=RefundState.PROCESSING)
    assert await books.refunds.intend(shop.id, refund.id, 1, token="t", available=refund.amount, outside=0)
    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "scanned", State.PROCESSING)
    outcome = AttemptOutcome(
        delivered=False, status=500, error="http_500", latency_ms=5, excerpt="no", dead=False, wait=10.0
    )
    await books.attempted(shop.id, booked.deliveries[0].id, outcome, disable_after=1e6)
    redelivery = Redelivery(
        id=new_id("rdl"),
        merchant_id=shop.id,
        endpoint_id=endpoint,
        is_sandbox=False,
        kind=RedeliveryKind.ALL,
        since=datetime.now(UTC) - timedelta(days=1),
        until=datetime.now(UTC),
        state=RedeliveryState.RUNNING,
        found=0,
        delivered=0,
        handed_over=0,
        place_at=None,
        place_id=None,
        asked_by="key_1",
        created_at=datetime.now(UTC),
        finished_at=None,
    )
    await Redeliveries(books.app).open(redelivery, request_id="req_1")
    await Organizations(books.app).start(shop.id, BIN, is_sandbox=False, asked_by="key_1", request_id="req_1")
    await _reconciled(books, shop)
    await stocked(shop, new())
    await shop.refund(await paid_cart(shop, (100, 1000)), items=[AskedItem(position=1)])
    await (await BookedSubscription(shop).opened()).due()
    await TestClocks(books.app).add(Asker(merchant_id=shop.id, key_id="key_1", sandbox_only=True), "clock")
    return shop


async def _reconciled(books: Books, shop: Shop) -> None:
    records, now = Reconciliations(books.app), datetime.now(UTC)
    new = NewRun(
        id=new_id("rec"),
        merchant_id=shop.id,
        connection_id=shop.connection_id,
        trigger=Trigger.API,
        asked_by="key_1",
        period_from=now - timedelta(days=1),
        period_to=now,
        created_at=now,
    )
    row = StatementRow(number=2, happened_at=now, operation=Operation.PAYMENT, bank_payment_id=1, amount=1)
    run = await records.open(new, [row])
    await records.note(run, [Line(source=Source.BANK, verdict=LineVerdict.MISSING_HERE, bank_payment_id=1)])


@pytest.fixture(scope="module")
async def two(books: Books) -> tuple[Shop, Shop]:
    return await furnished(books, "one"), await furnished(books, "two")


async def tenant_tables(books: Books) -> dict[str, str]:
    """Every table that has a merchant's rows, by the database's own catalogue, and the column that says whose."""
    rows = await books.fetch(
        "select c.relname, min(a.attname) filter (where a.attname = 'merchant_id') as whose from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 where c.relkind in ('r', 'p')"
        " and c.relnamespace = 'public'::regnamespace group by c.relname"
    )
    known = {row["relname"]: row["whose"] for row in rows}
    shared = {name for name, whose in known.items() if whose is None}
    # A new table without a merchant must be thought about here.
    transitions = ("invoice", "refund", "subscription", "subscription_period")
    assert shared == {"merchants", "alembic_version", *(f"{name}_transitions" for name in transitions)}
    return {name: whose for name, whose in known.items() if whose} | {"merchants": "id"}


async def test_the_application_sees_its_merchants_rows_in_every_table_and_nothing_else(
    books: Books, two: tuple[Shop, Shop]
) -> None:
    mine, other = two
    for table, whose in (await tenant_tables(books)).items():
        stands = await books.fetch(f"select distinct {whose} as whose from {table}")
        # Without the other's rows the rest would prove nothing.
        assert {mine.id, other.id} <= {row["whose"] for row in stands}, table
        async with role(books.database, "tolem_app", mine.id) as connection:
            seen = await connection.fetch(f"select distinct {whose} from {table}")
            assert {row[0] for row in seen} == {mine.id}, table


@pytest.mark.parametrize("entered", [None, ""])
async def test_without_a_merchant_the_application_sees_nothing(
    books: Books, two: tuple[Shop, Shop], entered: str | None
) -> None:
    for table in await tenant_tables(books):
        async with role(books.database, "tolem_app", entered) as connection:
            assert await connection.fetchval(f"select count(*) from {table}") == 0, table


async def test_security_is_forced_on_every_tenant_table_and_the_application_owns_none(books: Books) -> None:
    rows = await books.fetch(
        "select c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner) as owner"
        " from pg_class c where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace"
    )
    tables = await tenant_tables(books)
    for row in rows:
        assert row["owner"] == "tolem_owner", row
        if row["relname"] in tables:
            assert row["relrowsecurity"], row
            assert row["relforcerowsecurity"], row
    roles = await books.fetch(
        "select rolname, rolsuper, rolbypassrls from pg_roles where rolname in ('tolem_app', 'tolem_operator')"
    )
    assert len(roles) == 2
    assert not any(row["rolsuper"] or row["rolbypassrls"] for row in roles)
    memberships = "select 1 from pg_auth_members m join pg_roles r on r.oid = m.member where r.rolname = 'tolem_app'"
    assert await books.fetch(memberships) == []


async def test_even_the_owner_sees_no_rows(books: Books, two: tuple[Shop, Shop]) -> None:
    async with role(books.database, "tolem_owner", two[0].id) as connection:
        for table in await tenant_tables(books):
            assert await connection.fetchval(f"select count(*) from {table}") == 0, table


@pytest.mark.parametrize("table", ["invoices", "webhook_endpoints", "bank_watches", "deliveries", "connections"])
async def test_a_strangers_rows_cannot_be_changed(books: Books, two: tuple[Shop, Shop], table: str) -> None:
    mine, other = two
    column = {"connections": "health_reason = 'x'", "webhook_endpoints": "enabled = enabled"}.get(table)
    change = (
        column or {"invoices": "description = 'x'", "bank_watches": "checks = 9", "deliveries": "attempts = 9"}[table]
    )
    async with role(books.database, "tolem_app", mine.id) as connection:
        assert await connection.execute(f"update {table} set {change} where merchant_id = $1", other.id) == "UPDATE 0"
        assert await connection.execute(f"update {table} set {change} where merchant_id = $1", mine.id) != "UPDATE 0"


async def test_rows_cannot_be_given_to_or_taken_from_a_stranger(books: Books, two: tuple[Shop, Shop]) -> None:
    mine, other = two
    insert = (
        "insert into webhook_endpoints (id, merchant_id, url, events, is_sandbox, updated_at)"
        " values ('whe_x', $1, 'https://evil.example', '{*}', false, now())"
    )
    async with role(books.database, "tolem_app", mine.id) as connection:
        with pytest.raises(REFUSED, match="row-level security"):
            await connection.execute(insert, other.id)
    async with role(books.database, "tolem_app", mine.id) as connection:
        with pytest.raises(REFUSED, match="row-level security"):
            await connection.execute("update webhook_endpoints set merchant_id = $1", other.id)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from invoices",
        "delete from events",
        "delete from refunds",
        "delete from refund_attempts",
        "delete from reconciliations",
        "delete from reconciliation_lines",
        "delete from statement_lines",
        "update statement_lines set amount = 1",
        "delete from deliveries",
        "delete from delivery_attempts",
        "delete from webhook_endpoints",
        "delete from merchants",
        "delete from connections",
        "truncate invoices cascade",
        "update events set cause = 'x'",
        "update delivery_attempts set status = 200",
        "update merchants set name = 'x'",
        "update connections set secrets_sealed = ''",
        "update api_keys set revoked_at = null",
        "insert into merchants (id, name, bin, id_salt) values ('mer_x', 'x', '210140000016', '')",
        "insert into api_keys (id, merchant_id, mode, name, key_hash, hint)"
        " values ('key_x', 'mer_x', 'live', 'x', 'x', 'x')",
        "insert into invoice_transitions values ('paid', 'pending')",
        "update invoice_transitions set new_state = 'pending'",
        "alter table invoices disable row level security",
        "drop trigger guard_invoice on invoices",
        "create table mine (id int)",
        "set role tolem_operator",
        "set session_replication_role = replica",
    ],
)
async def test_the_application_may_not(books: Books, two: tuple[Shop, Shop], statement: str) -> None:
    async with role(books.database, "tolem_app", two[0].id) as connection:
        with pytest.raises(REFUSED):
            await connection.execute(statement)


@pytest.mark.parametrize("table", ["invoices", "events", "deliveries", "idempotency_keys", "merchants"])
async def test_an_operator_deletes_nothing(books: Books, table: str) -> None:
    async with role(books.database, "tolem_operator") as connection:
        with pytest.raises(REFUSED):
            await connection.execute(f"delete from {table}")


async def test_a_key_opens_its_own_merchant_only(books: Books, two: tuple[Shop, Shop]) -> None:
    mine, other = two
    hashes = {
        row["merchant_id"]: row["key_hash"] for row in await books.fetch("select merchant_id, key_hash from api_keys")
    }
    principal = await books.reads.authenticate(hashes[mine.id])
    assert principal is not None
    assert (principal.merchant.id, principal.mode) == (mine.id, Mode.LIVE)
    assert (principal.connection_id, principal.connection_scheme) == (mine.connection_id, "r3")
    assert await books.reads.authenticate(b"nobody's") is None
    # A hash in the setting shows its own row, and no other door is open with it.
    async with role(books.database, "tolem_app") as connection:
        await connection.execute("select set_config('app.key_hash', $1, true)", hashes[mine.id].hex())
        assert [row[0] for row in await connection.fetch("select merchant_id from api_keys")] == [mine.id]
        assert await connection.fetchval("select count(*) from invoices") == 0
        assert await connection.fetchval("select count(*) from merchants") == 0
    async with role(books.database, "tolem_app") as connection:
        await connection.fetch("select * from authenticate($1)", hashes[mine.id])
        keys = await connection.fetch("select merchant_id from api_keys")
        assert {row[0] for row in keys} == {mine.id}
        assert other.id not in {row[0] for row in await connection.fetch("select merchant_id from invoices")}


async def test_a_revoked_key_opens_nothing(books: Books, shop: Shop) -> None:
    hashed = shop.id.encode()
    key_id = await books.registry.add_key(shop.id, Mode.TEST, "to revoke", hashed=hashed, hint="abcd")
    assert await books.reads.authenticate(hashed) is not None
    assert await books.registry.revoke_key(key_id)
    assert not await books.registry.revoke_key(key_id)
    assert await books.reads.authenticate(hashed) is None


async def test_what_a_request_entered_does_not_outlive_its_transaction(books: Books, two: tuple[Shop, Shop]) -> None:
    """Pooled connections are used by many merchants in turn."""
    for shop in two * 3:
        assert {one.merchant_id for one in await books.reads.invoices(shop.id, await ids_of(books))} == {shop.id}
    async with books.app.connect() as connection:
        left = await connection.exec_driver_sql("select nullif(current_setting('app.merchant', true), '')")
        assert left.scalar_one() is None


async def ids_of(books: Books) -> list[str]:
    return [row["id"] for row in await books.fetch("select id from invoices")]


async def test_the_payment_page_shows_one_bill(books: Books, two: tuple[Shop, Shop]) -> None:
    mine, _ = two
    invoice = await mine.pending()
    view = await books.reads.payer_view(invoice.id)
    assert view is not None
    assert (view.number, view.amount, view.state) == (invoice.number, invoice.amount, State.PENDING)
    assert view.merchant_name == "Shop"
    assert "phone" not in view.__struct_fields__
    assert await books.reads.payer_view(new_id("inv")) is None
    assert await books.reads.payer_view("") is None
    assert await books.reads.payer_view("%") is None
    async with role(books.database, "tolem_app") as connection:
        await connection.execute("select set_config('app.invoice', $1, true)", invoice.id)
        assert [row[0] for row in await connection.fetch("select id from invoices")] == [invoice.id]
        assert await connection.execute("update invoices set description = 'x'") == "UPDATE 0"


async def test_another_merchants_ids_are_unknown_to_every_read_and_write(books: Books, two: tuple[Shop, Shop]) -> None:
    mine, other = two
    invoice = await mine.pending()
    endpoint = await mine.endpoint()
    booked = await mine.book(invoice.id, "paid", State.PAID)
    assert await books.reads.invoice(other.id, invoice.id) is None
    assert await books.reads.created(other.id, invoice.id) is None
    assert await books.reads.endpoint(other.id, endpoint) is None
    assert await books.deliveries.due(other.id, booked.deliveries[0].id) is None
    assert await books.records.sealed_connection(other.id, mine.connection_id) is None
    assert not await books.watches.request(other.id, [invoice.id])
    with pytest.raises(Exception, match="No row"):
        await other.book(invoice.id, "stolen", State.REFUNDED)
    # A claim under a known id of another merchant neither opens nor shows that bill.
    with pytest.raises(Exception, match=r"IssueWindowMissed|duplicate key|issue_before"):
        await books.ledger.open_invoice(other.order(invoice_id=invoice.id))
    assert (await mine.invoice(invoice.id)).state is State.PAID
