"""The log of bank calls: the latest 20,000 rows and exact counts."""

from typing import Any, Final

from emulator.store import Store

KEPT: Final = 20_000
_TRIM_EVERY: Final = 500


def record(
    store: Store,
    *,
    at: int,
    scheme: str,
    version: str,
    call: str,
    method: str,
    x_request_id: str | None,
    purchase_id: int | None,
    executed: bool,
    status_code: int | None,
    http_status: int | None,
    fault: str | None,
) -> None:
    """One row. `executed`: the bank did what was asked. `http_status` None: the connection was dropped."""
    seq = store.insert(
        "calls",
        at=at,
        scheme=scheme,
        version=version,
        call=call,
        method=method,
        x_request_id=x_request_id,
        purchase_id=purchase_id,
        executed=executed,
        status_code=status_code,
        http_status=http_status,
        fault=fault,
    )
    store.execute(
        "INSERT INTO call_counts (call, received, executed) VALUES (?, 1, ?) ON CONFLICT (call) DO UPDATE"
        " SET received = received + 1, executed = executed + excluded.executed",
        (call, executed),
    )
    if seq % _TRIM_EVERY == 0:
        store.execute("DELETE FROM calls WHERE seq <= ?", (seq - KEPT,))


def rows(store: Store, call: str | None, since_seq: int, since_ms: int, limit: int | None) -> list[dict[str, Any]]:
    """Oldest first, after the given sequence number and not before the given time (Unix milliseconds).

    `limit` keeps the newest so many.
    """
    found = store.rows(
        "SELECT * FROM calls WHERE seq > ? AND at >= ? AND (? IS NULL OR call = ?) ORDER BY seq DESC LIMIT ?",
        (since_seq, since_ms, call, call, -1 if limit is None else limit),
    )
    return found[::-1]


def counts(store: Store) -> dict[str, dict[str, int]]:
    return {
        row["call"]: {"received": row["received"], "executed": row["executed"]}
        for row in store.rows("SELECT * FROM call_counts ORDER BY call")
    }
