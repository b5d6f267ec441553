"""`tolem audit` as an operator runs it: a process, real books."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from dev.postgres import Database
from domain.invoice import State
from tests.db.books import BIN, Books, Shop


@pytest.fixture
async def books(fresh_postgres: Database) -> AsyncIterator[Books]:
    made = Books(fresh_postgres)
    yield made
    await made.close()


@pytest.fixture
async def shop(books: Books) -> Shop:
    """Five rows: merchant, connection, and a bill that is paid."""
    made = await books.merchant()
    invoice = await made.pending(asked_by="key_7")
    await made.book(invoice.id, "paid", State.PAID)
    return made


async def tolem(books: Books, *words: str, group: str = "audit") -> tuple[int | None, str, str]:
    """Exit code, stdout, stderr; as the person `aigerim`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cli", group, *words),
        env={**os.environ, "LOGNAME": "aigerim", "TOLEM_OPERATOR_DATABASE_URL": books.database.operator_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), " ".join(err.decode().replace("│", " ").split())


async def tamper(books: Books, statement: str) -> None:
    connection = await asyncpg.connect(books.database.dsn("postgres"))
    try:
        await connection.execute(f"alter table audit_log disable trigger user; {statement}")
    finally:
        await connection.close()


async def test_whole_chains_are_verified_and_their_heads_exported(books: Books, shop: Shop, tmp_path: Path) -> None:
    other = await books.merchant()
    code, heads, _ = await tolem(books, "head")
    assert code == 0
    known = {head["merchant_id"]: head for head in json.loads(heads)["heads"]}
    assert {merchant: head["position"] for merchant, head in known.items()} == {shop.id: 5, other.id: 2}
    file = tmp_path / "heads.json"
    file.write_text(heads)
    await shop.opened()

    code, said, _ = await tolem(books, "verify", "--head", str(file))
    assert code == 0
    assert f"{shop.id}: 6 rows, whole, and true to the head at 5" in said
    assert f"{other.id}: 2 rows, whole" in said
    code, said, _ = await tolem(books, "verify", "--merchant", other.id)
    assert code == 0
    assert shop.id not in said


async def test_a_break_is_named_and_ends_with_one(books: Books, shop: Shop) -> None:
    other = await books.merchant()
    await tamper(books, "update audit_log set actor_id = 'key_8' where action = 'invoice.created'")
    code, said, told = await tolem(books, "verify")
    assert code == 1
    assert f"merchant {shop.id}, position 3: its content is not what was written" in told
    assert f"{other.id}: 2 rows, whole" in said


@pytest.mark.parametrize("statement", ["delete from audit_log where position > 4", "delete from audit_log"])
async def test_a_cut_tail_is_found_with_the_exported_head(
    books: Books, shop: Shop, tmp_path: Path, statement: str
) -> None:
    file = tmp_path / "head.json"
    file.write_text((await tolem(books, "head", "--merchant", shop.id))[1])
    await tamper(books, statement)
    assert (await tolem(books, "verify"))[0] == 0  # nothing inside the database can tell
    code, _, told = await tolem(books, "verify", "--head", str(file))
    assert code == 1
    assert f"merchant {shop.id}, position" in told
    assert "the tail is cut off: the exported head is at position 5" in told


async def test_a_merchant_that_is_gone_is_missed_by_its_head(books: Books, shop: Shop, tmp_path: Path) -> None:
    heads = json.loads((await tolem(books, "head"))[1])
    heads["heads"][0]["merchant_id"] = "mer_gone"
    file = tmp_path / "heads.json"
    file.write_text(json.dumps(heads))
    code, _, told = await tolem(books, "verify", "--head", str(file))
    assert code == 1
    assert "merchant mer_gone, position 1" in told


async def test_what_an_operator_does_bears_the_login_name(books: Books) -> None:
    code, merchant, _ = await tolem(books, "add", "--name", "Shop", "--bin", BIN, group="merchants")
    assert code == 0
    assert (await tolem(books, "add", merchant.strip(), "--mode", "live", group="keys"))[0] == 0
    _, said, _ = await tolem(books, "list", "--merchant", merchant.strip())
    assert [action in said for action in ("merchant.created", "api_key.created")] == [True, True]
    assert said.count("operator aigerim") == 2


async def test_the_last_rows_are_listed(books: Books, shop: Shop) -> None:
    code, said, _ = await tolem(books, "list", "--merchant", shop.id)
    assert code == 0
    assert "key key_7" in said
    assert [line.split().count("invoice.paid") for line in said.splitlines()[:2]] == [0, 1]  # newest first, one head
    code, said, _ = await tolem(books, "list", "--object", shop.connection_id)
    assert "connection.created" in said
    assert "invoice.paid" not in said


async def test_what_cannot_be_checked_is_said(books: Books, shop: Shop, tmp_path: Path) -> None:
    code, _, told = await tolem(books, "verify", "--merchant", "mer_nobody")
    assert (code, "There is no such merchant" in told) == (1, True)
    file = tmp_path / "heads.json"
    file.write_text("{}")
    code, _, told = await tolem(books, "verify", "--head", str(file))
    assert (code, "This is no file of" in told) == (1, True)
