"""Who uses the system: merchants, their API keys, their link to the bank."""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.bank import Scheme
from domain.rate_limit import Allowance


class Mode(StrEnum):
    """A test key makes only sandbox invoices; a live key makes both."""

    TEST = "test"
    LIVE = "live"


class Health(StrEnum):
    """How the bank answers on a connection."""

    UNKNOWN = "unknown"
    CONNECTED = "connected"
    DEGRADED = "degraded"
    LOST = "lost"


class Merchant(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant; `bin` is the 12-digit BIN/IIN."""

    id: str
    name: str
    bin: str
    created_at: datetime


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant's link to Kaspi without its secrets."""

    id: str
    merchant_id: str
    scheme: Scheme
    base_url: str
    organization_bin: str | None
    trade_point_id: int
    trade_point_name: str | None
    device_id: str
    version: int
    health: Health
    health_reason: str | None
    health_changed_at: datetime
    last_ok_at: datetime | None
    created_at: datetime


class ConnectionSecrets(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is sealed in the database; never logged, never in a workflow payload."""

    device_token: str
    api_key: str | None = None
    certificate_pem: str | None = None
    private_key_pem: str | None = None
    private_key_password: str | None = None
    pfx: bytes | None = None
    pfx_password: str | None = None
    trust_pem: str | None = None

    def __repr__(self) -> str:
        return "ConnectionSecrets(…)"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request speaks for, with what the hot path needs to know at once.

    `allowance` is None for a key without a limit.
    """

    key_id: str
    mode: Mode
    merchant: Merchant
    id_salt: bytes
    database_now: datetime
    connection_id: str | None = None
    connection_scheme: Scheme | None = None
    allowance: Allowance | None = None

    def __repr__(self) -> str:
        return f"Principal({self.key_id})"
