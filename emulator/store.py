"""The bank's books on disk: one SQLite file, one connection, one transaction per bank call."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS organizations (
  bin TEXT PRIMARY KEY, name TEXT NOT NULL, partner_cn TEXT NOT NULL, api_key TEXT NOT NULL UNIQUE,
  schemes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trade_points (
  id INTEGER PRIMARY KEY AUTOINCREMENT, organization_bin TEXT NOT NULL, name TEXT NOT NULL,
  enabled INTEGER NOT NULL, qr_enabled INTEGER NOT NULL, UNIQUE (organization_bin, name));
CREATE TABLE IF NOT EXISTS devices (
  token TEXT PRIMARY KEY, organization_bin TEXT NOT NULL, device_id TEXT NOT NULL,
  trade_point_id INTEGER NOT NULL, active INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS purchases (
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, organization_bin TEXT NOT NULL,
  trade_point_id INTEGER NOT NULL, device_token TEXT NOT NULL, amount_tiyn INTEGER NOT NULL CHECK (amount_tiyn > 0),
  state TEXT NOT NULL, rejected_word TEXT, phone TEXT, comment TEXT, external_id TEXT, x_request_id TEXT,
  created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, confirm_by INTEGER, paid_at INTEGER,
  payments INTEGER NOT NULL DEFAULT 0, refunded_tiyn INTEGER NOT NULL DEFAULT 0
    CHECK (refunded_tiyn BETWEEN 0 AND amount_tiyn),
  qr_token TEXT, payment_link TEXT);
CREATE INDEX IF NOT EXISTS purchases_phone ON purchases (phone);
CREATE INDEX IF NOT EXISTS purchases_external_id ON purchases (external_id);
CREATE TABLE IF NOT EXISTS refunds (
  id INTEGER PRIMARY KEY AUTOINCREMENT, purchase_id INTEGER NOT NULL, amount_tiyn INTEGER NOT NULL,
  source TEXT NOT NULL, device_token TEXT, return_id INTEGER, x_request_id TEXT, created_at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS refunds_purchase ON refunds (purchase_id);
CREATE TABLE IF NOT EXISTS returns (
  id INTEGER PRIMARY KEY AUTOINCREMENT, organization_bin TEXT NOT NULL, device_token TEXT NOT NULL,
  external_id TEXT, qr_token TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
  failed INTEGER NOT NULL DEFAULT 0, phone TEXT);
CREATE TABLE IF NOT EXISTS faults (
  id INTEGER PRIMARY KEY AUTOINCREMENT, spec TEXT NOT NULL, remaining INTEGER, hits INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS calls (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, scheme TEXT NOT NULL, version TEXT NOT NULL,
  call TEXT NOT NULL, method TEXT NOT NULL, x_request_id TEXT, purchase_id INTEGER, executed INTEGER NOT NULL,
  status_code INTEGER, http_status INTEGER, fault TEXT);
CREATE TABLE IF NOT EXISTS call_counts (
  call TEXT PRIMARY KEY, received INTEGER NOT NULL, executed INTEGER NOT NULL);
"""

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Store:
    """Reads and writes rows. Not thread-safe: everything runs on the event loop's thread."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        # A killed process loses nothing: a committed WAL page is in the kernel's cache. Only a power cut may
        # lose the last moments, which a test bank can afford and an fsync per call cannot.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)
        self._seed_sequences()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; what was written is on disk (short of a power cut) when the block ends."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Runs one statement; returns the id of the row it inserted, if it did."""
        return self._db.execute(sql, parameters).lastrowid or 0

    def insert(self, table: str, **values: Any) -> int:
        columns = ", ".join(values)
        marks = ", ".join("?" * len(values))
        # Table and column names come from our own code, values are bound.
        return self.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(values.values()))  # noqa: S608

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute(sql, parameters)]

    def many(self, kind: type[T], sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[T]:
        return [msgspec.convert(dict(row), kind, strict=False) for row in self._db.execute(sql, parameters)]

    def one(self, kind: type[T], sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> T | None:
        row = self._db.execute(sql, parameters).fetchone()
        return None if row is None else msgspec.convert(dict(row), kind, strict=False)

    def _seed_sequences(self) -> None:
        """Ids have 11 digits and start at another place for every new file.

        A payments backend whose database outlives the emulator's state would otherwise meet its old ids again.
        """
        if self._db.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'purchases'").fetchone():
            return
        start = 12_000_000_000 + int((datetime.now(UTC) - _EPOCH).total_seconds()) * 100
        with self.transaction():
            for table in ("purchases", "refunds", "returns"):
                self.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, start))
