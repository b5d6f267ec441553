"""`tolem connections` as an operator runs it: a process, real books, the emulated bank."""

import asyncio
import os
import sys
from pathlib import Path

from dev.dev_secrets import load_or_make
from dev.ports import free_port
from dev.postgres import Database
from tests.db.books import BIN, Books
from tests.support.emulator import EmulatorServer


async def test_a_link_is_not_made_while_nobody_could_watch_it(
    postgres: Database, emulator: EmulatorServer, tmp_path: Path
) -> None:
    secrets = load_or_make(tmp_path / "secrets.json")
    settings = {
        "TOLEM_OPERATOR_DATABASE_URL": postgres.operator_url,
        "TOLEM_TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}",  # nobody is there
        "TOLEM_SEAL_KEYS": secrets.seal_keys,
        "TOLEM_PAYLOAD_KEYS": secrets.payload_keys,
        "TOLEM_CODEC_TOKEN": secrets.codec_token,
    }
    books = Books(postgres)
    try:
        merchant = await books.registry.add_merchant("Shop", BIN)
        folder = emulator.certificates
        arguments = {
            "--scheme": "r3",
            "--base-url": f"{emulator.bank_url}/r3/v01",
            "--organization-bin": BIN,
            "--trade-point": "10001",
            "--certificate": str(folder / "client.pem"),
            "--private-key": str(folder / "client.key"),
            "--trust": str(folder / "ca.pem"),
        }
        words = [word for pair in arguments.items() for word in pair]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "cli", "connections", "add", merchant.id, *words),
            env={**os.environ, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            _, told = await process.communicate()
        assert process.returncode == 1
        assert "Temporal does not answer" in told.decode()
        assert await books.fetch("select id from connections where merchant_id = :m", m=merchant.id) == []
    finally:
        await books.close()
