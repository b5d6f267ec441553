"""The chain: what the database writes, what it refuses, and what a recomputation finds when somebody tampered."""

import secrets
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, NamedTuple

import asyncpg
import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from db import audit
from db.audit_reads import CHAIN_STEP, AuditChains
from db.engine import as_merchant
from dev.postgres import Database
from domain.audit import Actor, ActorKind, AuditEntry, AuditRow
from domain.audit_chain import GENESIS, Broken, ChainCheck, Head, link_hash
from tests.db.books import Books, Shop, at_once, role

REFUSED = asyncpg.InsufficientPrivilegeError
NOBODY: Any = "nobody"  # what the table refuses
KEY = Actor(kind=ActorKind.KEY, id="key_1")
# What a sloppy format would mix up: empty and absent, a separator in a value, letters of several bytes.
AWKWARD = (None, "", "~", "1:a", "paid", "Әлібек → 10000 ₸", "a\nb", "🧾" * 300)


def entry(shop: Shop, action: str = "thing.done", **fields: object) -> AuditEntry:
    known = {"actor": KEY, "object_type": "thing", "object_id": "thing_1", "is_sandbox": False}
    return AuditEntry(merchant_id=shop.id, action=action, **(known | fields))  # type: ignore[arg-type]


async def write(books: Books, *entries: AuditEntry) -> None:
    async with as_merchant(books.app, entries[0].merchant_id) as connection:
        await audit.append(connection, *entries)


async def chain(books: Books, shop: Shop) -> list[AuditRow]:
    return [row async for row in AuditChains(books.operator).rows(shop.id)]


async def judged(books: Books, shop: Shop, head: Head | None = None) -> Broken | None:
    check = ChainCheck(shop.id, head)
    for row in await chain(books, shop):
        check.read(row)
    return check.finish()


async def test_every_row_is_sealed_to_the_row_before_it(books: Books, shop: Shop) -> None:
    begun = len(await chain(books, shop))
    for text in AWKWARD:
        await write(
            books,
            entry(shop, before=text, after=text, request_id=text, note=text),
            entry(shop, action=text or "-", is_sandbox=True, object_id=text or ""),
        )
    rows = await chain(books, shop)
    assert len(rows) == begun + 2 * len(AWKWARD)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0].previous_hash == GENESIS
    assert all(after.previous_hash == before.hash for before, after in pairwise(rows))
    # Two implementations that share nothing: the trigger's and ours.
    assert [row.hash for row in rows] == [link_hash(row) for row in rows]
    assert len({row.hash for row in rows}) == len(rows)
    assert {row.note for row in rows} >= set(AWKWARD)
    assert await judged(books, shop) is None


async def test_each_merchant_has_a_chain_of_its_own(books: Books) -> None:
    one, two = await books.merchant(), await books.merchant()
    for shop in (one, two, one):
        await write(books, entry(shop))
    mine, other = await chain(books, one), await chain(books, two)
    assert (len(mine), len(other)) == (4, 3)  # the merchant and its connection come first
    assert {row.merchant_id for row in mine} == {one.id}
    async with role(books.database, "tolem_app", one.id) as connection:
        seen = await connection.fetch("select distinct merchant_id from audit_log")
        assert [row[0] for row in seen] == [one.id]
        with pytest.raises(REFUSED, match="row-level security"):
            await _insert(connection, two.id)


async def test_twenty_writers_at_once_make_one_chain_without_gaps(books: Books, shop: Shop) -> None:
    begun = len(await chain(books, shop))
    await at_once(20, lambda number: write(books, entry(shop, f"thing.{number}"), entry(shop, f"thing.{number}.more")))
    rows = await chain(books, shop)
    assert [row.position for row in rows] == list(range(1, begun + 41))
    assert len({row.action for row in rows[begun:]}) == 40
    assert await judged(books, shop) is None


async def test_what_is_rolled_back_leaves_neither_a_row_nor_a_gap(books: Books, shop: Shop) -> None:
    begun = len(await chain(books, shop))
    with pytest.raises(IntegrityError, match="actor_kind"):
        await write(books, entry(shop, "never.happened"), entry(shop, actor=Actor(kind=NOBODY, id="x")))
    await write(books, entry(shop, "happened"))
    rows = await chain(books, shop)
    assert [(row.position, row.action) for row in rows[begun:]] == [(begun + 1, "happened")]
    assert await judged(books, shop) is None


async def test_a_chain_longer_than_what_is_read_at_once_is_read_whole(books: Books, shop: Shop) -> None:
    begun = len(await chain(books, shop))
    async with role(books.database, "tolem_app", shop.id) as connection:
        await connection.execute(
            "insert into audit_log (id, merchant_id, actor_kind, actor_id, action, object_type, object_id, is_sandbox)"
            " select $1 || n, $2, 'key', 'k', 'a', 't', 'o', false from generate_series(1, $3) n",
            secrets.token_hex(8),
            shop.id,
            2 * CHAIN_STEP,
        )
        await connection.execute("commit")
    rows = await chain(books, shop)
    assert [row.position for row in rows] == list(range(1, begun + 2 * CHAIN_STEP + 1))
    assert await judged(books, shop) is None


async def _insert(connection: asyncpg.Connection, merchant_id: str, **more: object) -> None:
    fields = {
        "id": f"aud_{secrets.token_hex(4)}",
        "merchant_id": merchant_id,
        "actor_kind": "key",
        "actor_id": "key_1",
        "action": "forged",
        "object_type": "thing",
        "object_id": "thing_1",
        "is_sandbox": False,
        **more,
    }
    numbers = ", ".join(f"${number}" for number in range(1, len(fields) + 1))
    await connection.execute(f"insert into audit_log ({', '.join(fields)}) values ({numbers})", *fields.values())  # noqa: S608 -- names of this file


@pytest.mark.parametrize("name", ["tolem_app", "tolem_operator"])
@pytest.mark.parametrize(
    "statement",
    [
        "update audit_log set note = 'x'",
        "update audit_log set action = action",
        "delete from audit_log",
        "truncate audit_log",
        "alter table audit_log disable trigger user",
        "drop trigger audit_link on audit_log",
        "set session_replication_role = replica",
    ],
)
async def test_neither_the_application_nor_an_operator_changes_the_log(
    books: Books, shop: Shop, name: str, statement: str
) -> None:
    async with role(books.database, name, shop.id) as connection:
        with pytest.raises(REFUSED):
            await connection.execute(statement)


@pytest.mark.parametrize("name", ["tolem_app", "tolem_operator"])
@pytest.mark.parametrize("field", ["position", "previous_hash", "hash", "created_at"])
async def test_nobody_names_a_rows_place_or_hash(books: Books, shop: Shop, name: str, field: str) -> None:
    stands = (await chain(books, shop))[-1]
    async with role(books.database, name, shop.id) as connection:
        with pytest.raises(REFUSED):
            await _insert(connection, shop.id, **{field: getattr(stands, field)})


async def test_who_may_write_every_column_still_cannot_forge_a_link(books: Books, shop: Shop) -> None:
    begun = await chain(books, shop)
    async with role(books.database, "postgres") as connection:
        await _insert(connection, shop.id, position=1, previous_hash=GENESIS, hash=bytes(32), created_at=None)
        await connection.execute("commit")
    rows = await chain(books, shop)
    assert rows[: len(begun)] == begun
    assert rows[-1].position == len(begun) + 1
    assert await judged(books, shop) is None


@pytest.mark.parametrize("silenced", [False, True])
@pytest.mark.parametrize(
    "statement", ["update audit_log set note = 'x'", "delete from audit_log", "truncate audit_log"]
)
async def test_the_log_refuses_even_a_superuser_who_leaves_its_triggers_on(
    books: Books, shop: Shop, statement: str, silenced: bool
) -> None:
    async with role(books.database, "postgres") as connection:
        if silenced:
            await connection.execute("set local session_replication_role = replica")
        with pytest.raises(REFUSED, match="never changed"):
            await connection.execute(statement)


# --- tampering by somebody who may do anything


@pytest.fixture
async def own_books(fresh_postgres: Database) -> AsyncIterator[Books]:
    """A database of this test alone, because it will be spoilt."""
    made = Books(fresh_postgres)
    yield made
    await made.close()


class Rehash(NamedTuple):
    """New hashes for these positions, as one makes them who knows the format."""

    first: int
    last: int


async def tamper(books: Books, shop: Shop, *steps: str | Rehash) -> None:
    """As a superuser with every trigger off."""
    connection = await asyncpg.connect(books.database.dsn("postgres"))
    try:
        await connection.execute("alter table audit_log disable trigger user")
        for step in steps:
            if isinstance(step, str):
                await connection.execute(step)
                continue
            rows = {row.position: row for row in await chain(books, shop)}
            for position in range(step.first, step.last + 1):
                row = msgspec.structs.replace(rows[position], previous_hash=rows[position - 1].hash)
                rows[position] = row = msgspec.structs.replace(row, hash=link_hash(row))
                await connection.execute(
                    "update audit_log set previous_hash = $1, hash = $2 where id = $3",
                    row.previous_hash,
                    row.hash,
                    row.id,
                )
    finally:
        await connection.close()


SWAP = (
    "update audit_log set position = -1 where position = 4",
    "update audit_log set position = 4 where position = 5",
    "update audit_log set position = 5 where position = -1",
)


@pytest.mark.parametrize(
    ("steps", "position", "needs_head"),
    [
        pytest.param(("update audit_log set after = 'paid' where position = 4",), 4, False, id="edit"),
        pytest.param(("update audit_log set after = null where position = 4",), 4, False, id="edit to null"),
        pytest.param(("update audit_log set actor_id = 'key_2' where position = 10",), 10, False, id="edit the last"),
        pytest.param(
            ("update audit_log set created_at = created_at + interval '1 microsecond' where position = 1",),
            1,
            False,
            id="edit a time",
        ),
        pytest.param(("delete from audit_log where position = 4",), 4, False, id="delete"),
        pytest.param(("delete from audit_log where position = 1",), 1, False, id="delete the first"),
        pytest.param(
            (
                "delete from audit_log where position = 4",
                "update audit_log set position = position - 1 where position > 4",
            ),
            4,
            False,
            id="delete and close the gap",
        ),
        pytest.param(SWAP, 4, False, id="reorder"),
        pytest.param((*SWAP, Rehash(4, 5)), 6, False, id="reorder and rehash"),
        pytest.param(
            ("update audit_log set merchant_id = 'mer_other' where position = 4",), 4, False, id="give to another"
        ),
        pytest.param(
            (
                "drop index uq_audit_log_merchant_id_position",
                'insert into audit_log select (jsonb_populate_record(a, \'{"id": "aud_0"}\')).* from audit_log a'
                " where position = 4",
            ),
            4,
            False,
            id="double",
        ),
        pytest.param(("delete from audit_log where position > 8",), 9, True, id="cut the tail"),
        pytest.param(("delete from audit_log",), 1, True, id="cut all"),
        pytest.param(
            ("update audit_log set note = 'x' where position = 4", Rehash(4, 10)),
            10,
            True,
            id="edit and rehash to the end",
        ),
        pytest.param(
            (
                "delete from audit_log where position = 4",
                "update audit_log set position = position - 1 where position > 4",
                Rehash(4, 9),
            ),
            10,
            True,
            id="delete and rehash to the end",
        ),
    ],
)
async def test_tampering_by_a_superuser_is_found(
    own_books: Books, steps: tuple[str | Rehash, ...], position: int, needs_head: bool
) -> None:
    shop = await own_books.merchant()
    await write(own_books, *[entry(shop, f"thing.{number}", after="pending") for number in range(8)])
    head = await AuditChains(own_books.operator).head(shop.id)
    assert head is not None
    assert head.position == 10
    assert await judged(own_books, shop, head) is None

    await tamper(own_books, shop, *steps)
    without, with_head = await judged(own_books, shop), await judged(own_books, shop, head)
    # What no recomputation can see is what the exported head is for.
    assert (without is None) is needs_head
    assert with_head is not None
    assert (with_head.merchant_id, with_head.position) == (shop.id, position)


async def test_a_head_taken_earlier_fits_a_chain_that_has_grown(books: Books, shop: Shop) -> None:
    await write(books, entry(shop))
    head = await AuditChains(books.operator).head(shop.id)
    await write(books, entry(shop), entry(shop))
    assert await judged(books, shop, head) is None
