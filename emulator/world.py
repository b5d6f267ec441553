"""What every part of the emulator shares: the books, the knobs, the clock."""

import time

import msgspec

from emulator.rates import Rates
from emulator.settings import Settings
from emulator.store import Store


class World:
    def __init__(self, store: Store, time_scale: float | None = None) -> None:
        self.store = store
        self.rates = Rates()
        rows = store.rows("SELECT value FROM meta WHERE key = 'settings'")
        self.settings = msgspec.json.decode(rows[0]["value"], type=Settings) if rows else Settings()
        if time_scale is not None:
            self.change_settings(msgspec.structs.replace(self.settings, time_scale=time_scale))

    def now(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def change_settings(self, settings: Settings) -> None:
        self.settings = settings
        self.store.execute(
            "INSERT INTO meta (key, value) VALUES ('settings', ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (msgspec.json.encode(settings).decode(),),
        )

    def forget(self) -> None:
        """Clears purchases, refunds, faults, calls and rate limits; keeps organisations, devices and settings.

        Ids go on from where they were: a bank never gives one twice.
        """
        self.rates = Rates()
        with self.store.transaction():
            for table in ("purchases", "refunds", "returns", "faults", "calls", "call_counts"):
                self.store.execute(f"DELETE FROM {table}")  # noqa: S608  # names from the line above
