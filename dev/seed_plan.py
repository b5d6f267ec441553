"""What `dev/seed.py` is told: `async def seed(plan: SeedPlan) -> None`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SeedPlan:
    """The running system to put a demo merchant into. Seeding twice changes nothing.

    `environment` holds the settings of all roles (`TOLEM_DATABASE_URL`, `TOLEM_OPERATOR_DATABASE_URL`,
    `TOLEM_OWNER_DATABASE_URL`, `TOLEM_SEAL_KEYS`, …). The API keys are given, because only their hashes can be read
    back. `bank_url` is the emulator's HTTPS origin without a scheme prefix (/r1/v01 …), `emulator_url` its admin
    origin, `certificates` the folder with its ca.pem, client.pem, client.key, client.pfx.
    """

    environment: Mapping[str, str] = field(repr=False)
    test_key: str = field(repr=False)
    live_key: str = field(repr=False)
    bank_url: str
    emulator_url: str
    certificates: Path
