"""Plain records that are not money: merchants, keys, connections; each write with its audit row."""

import secrets
from datetime import datetime

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import audit, registry_audit
from db.engine import as_merchant, transaction
from db.rows import CONNECTION_COLUMNS, to_connection
from domain.bank import Scheme
from domain.ids import API_KEY, CONNECTION, MERCHANT, new_id
from domain.merchant import Connection, Merchant, Mode
from domain.rate_limit import RateLimit

_MERCHANTS = text("select id, name, bin, created_at from merchants order by created_at, id")
_MERCHANT = text("select id, name, bin, created_at from merchants where id = :id")
_NEW_MERCHANT = text(
    "insert into merchants (id, name, bin, id_salt) values (:id, :name, :bin, :salt)"
    " returning id, name, bin, created_at"
)
_NEW_KEY = text(
    "insert into api_keys (id, merchant_id, mode, name, key_hash, hint)"
    " values (:id, :merchant, :mode, :name, :hash, :hint)"
)
_KEYS = text(
    "select id, merchant_id, mode, name, hint, rate_per_minute, rate_burst, created_at, revoked_at from api_keys"
    " where merchant_id = :merchant order by created_at, id"
)
_REVOKE = text(
    "update api_keys set revoked_at = now() where id = :id and revoked_at is null returning id, merchant_id, mode"
)
_LIMIT = text(
    "update api_keys k set rate_per_minute = cast(:per_minute as integer), rate_burst = cast(:burst as integer)"
    " from (select id, rate_per_minute, rate_burst from api_keys where id = :id and revoked_at is null for update) old"
    " where k.id = old.id returning k.merchant_id, k.mode, old.rate_per_minute, old.rate_burst"
)
# What was used of the old limit says nothing of the new one.
_FORGET_USE = text("delete from rate_limits where key_id = :id")
_RETIRE = text("update connections set active = 0 where merchant_id = :merchant and active = 1 returning id, health")
_NEW_CONNECTION = text(
    "insert into connections (id, merchant_id, scheme, base_url, organization_bin, trade_point_id, trade_point_name,"
    " device_id, secrets_sealed, health, health_changed_at, last_ok_at)"
    " values (:id, :merchant, :scheme, :base_url, :organization_bin, :trade_point_id, :trade_point_name, :device_id,"
    f" :sealed, 'connected', now(), now()) returning {CONNECTION_COLUMNS}"
)
_CONNECTIONS = text(f"select {CONNECTION_COLUMNS} from connections where active = 1 order by created_at, id")
_WATCHED = text(
    f"select {CONNECTION_COLUMNS} from connections c where active = 1"
    " or exists (select 1 from bank_watches w where w.connection_id = c.id"
    "   and (not w.closed or w.next_check_at is not null))"
    " or exists (select 1 from invoices i where i.merchant_id = c.merchant_id and i.connection_id = c.id"
    "   and i.state in ('processing', 'pending')) order by created_at, id"
)
_SEALED = text(
    f"select {CONNECTION_COLUMNS}, secrets_sealed from connections where merchant_id = :merchant and id = :id"
)
_SEALED_IN_USE = text(
    f"select {CONNECTION_COLUMNS}, secrets_sealed from connections where merchant_id = :merchant and active = 1"
)


# Who writes where no person's name is known: seeds and scripts.
UNNAMED_OPERATOR = "tolem-cli"


class ApiKeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as an operator sees it: never the key, only a hint of its end.

    Without a rate of its own the default of the settings holds; a rate of 0 is no limit.
    """

    id: str
    merchant_id: str
    mode: Mode
    name: str
    hint: str
    rate_per_minute: int | None
    rate_burst: int | None
    created_at: datetime
    revoked_at: datetime | None


class NewConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A link to the bank that works (the device is registered)."""

    id: str
    merchant_id: str
    scheme: Scheme
    base_url: str
    organization_bin: str | None
    trade_point_id: int
    trade_point_name: str | None
    device_id: str
    sealed: bytes


def new_connection_id() -> str:
    """Made before the row, because the sealed secrets are bound to it."""
    return new_id(CONNECTION)


class Registry:
    """Operators' records over every merchant; needs the operator role's engine.

    `operator` is the name that the audit log keeps beside what is written.
    """

    def __init__(self, engine: AsyncEngine, operator: str = UNNAMED_OPERATOR) -> None:
        self._engine = engine
        self._operator = operator

    async def merchants(self) -> list[Merchant]:
        """Every merchant, oldest first."""
        async with transaction(self._engine) as connection:
            return [msgspec.convert(row, Merchant) for row in (await connection.execute(_MERCHANTS)).mappings()]

    async def merchant(self, merchant_id: str) -> Merchant | None:
        """One merchant."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_MERCHANT, {"id": merchant_id})).mappings().one_or_none()
        return None if row is None else msgspec.convert(row, Merchant)

    async def add_merchant(self, name: str, bin_: str) -> Merchant:
        """A new merchant; the BIN is checked by the caller (domain.bin)."""
        values = {"id": new_id(MERCHANT), "name": name, "bin": bin_, "salt": secrets.token_bytes(32)}
        async with transaction(self._engine) as connection:
            made = msgspec.convert((await connection.execute(_NEW_MERCHANT, values)).mappings().one(), Merchant)
            await audit.append(connection, registry_audit.merchant_created(made.id, self._operator))
        return made

    async def add_key(self, merchant_id: str, mode: Mode, name: str, *, hashed: bytes, hint: str) -> str:
        """Keeps a key's hash; gives the key's id."""
        key_id = new_id(API_KEY)
        values = {"id": key_id, "merchant": merchant_id, "mode": mode, "name": name, "hash": hashed, "hint": hint}
        async with transaction(self._engine) as connection:
            await connection.execute(_NEW_KEY, values)
            await audit.append(connection, registry_audit.key_created(merchant_id, key_id, mode, self._operator))
        return key_id

    async def keys(self, merchant_id: str) -> list[ApiKeyRow]:
        """A merchant's keys, revoked ones too."""
        async with transaction(self._engine) as connection:
            found = await connection.execute(_KEYS, {"merchant": merchant_id})
            return [msgspec.convert(row, ApiKeyRow) for row in found.mappings()]

    async def revoke_key(self, key_id: str) -> bool:
        """True when the key was valid until now."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_REVOKE, {"id": key_id})).one_or_none()
            if row is None:
                return False
            told = registry_audit.key_revoked(row.merchant_id, row.id, Mode(row.mode), self._operator)
            await audit.append(connection, told)
        return True

    async def limit_key(self, key_id: str, limit: RateLimit | None) -> bool:
        """A limit of the key's own, None for the default one; False where there is no such valid key.

        It holds from the next request on, and the key starts with the whole burst.
        """
        values = {
            "id": key_id,
            "per_minute": None if limit is None else limit.per_minute,
            "burst": None if limit is None else limit.burst,
        }
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_LIMIT, values)).one_or_none()
            if row is None:
                return False
            before = None if row.rate_per_minute is None else RateLimit(row.rate_per_minute, row.rate_burst)
            await connection.execute(_FORGET_USE, {"id": key_id})
            told = registry_audit.key_limited(row.merchant_id, key_id, Mode(row.mode), self._operator, before, limit)
            await audit.append(connection, told)
        return True

    async def add_connection(self, new: NewConnection) -> Connection:
        """Puts the link into use; the one before stays for its open payments."""
        async with transaction(self._engine) as connection:
            retired = (await connection.execute(_RETIRE, {"merchant": new.merchant_id})).all()
            values = msgspec.structs.asdict(new)
            values["merchant"] = values.pop("merchant_id")
            made = to_connection((await connection.execute(_NEW_CONNECTION, values)).mappings().one())
            for old in retired:
                told = registry_audit.connection_retired(new.merchant_id, old.id, old.health, self._operator)
                await audit.append(connection, told)
            await audit.append(connection, registry_audit.connection_created(made.merchant_id, made.id, self._operator))
        return made

    async def connections(self) -> list[Connection]:
        """Every link in use."""
        async with transaction(self._engine) as connection:
            return [to_connection(row) for row in (await connection.execute(_CONNECTIONS)).mappings()]

    async def sealed_connection(self, merchant_id: str) -> tuple[Connection, bytes] | None:
        """The merchant's link in use with its sealed secrets."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_SEALED_IN_USE, {"merchant": merchant_id})).mappings().one_or_none()
        return None if row is None else _with_secrets(row)

    async def watched_connections(self) -> list[Connection]:
        """Every link that is in use or still has payments to watch."""
        async with transaction(self._engine) as connection:
            return [to_connection(row) for row in (await connection.execute(_WATCHED)).mappings()]


def _with_secrets(row: RowMapping) -> tuple[Connection, bytes]:
    return to_connection({name: row[name] for name in Connection.__struct_fields__}), row["secrets_sealed"]


class MerchantRecords:
    """One merchant's own records, as the application's role."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def sealed_connection(self, merchant_id: str, connection_id: str) -> tuple[Connection, bytes] | None:
        """A link with its sealed secrets."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_SEALED, {"merchant": merchant_id, "id": connection_id})
            row = found.mappings().one_or_none()
        return None if row is None else _with_secrets(row)
