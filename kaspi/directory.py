"""Finds the bank of a connection and keeps its clients open."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec

from domain.merchant import Connection, ConnectionSecrets
from domain.scenario import Scene
from kaspi.bank import KaspiBank
from kaspi.config import KaspiConfig
from kaspi.errors import KaspiMisconfigured
from kaspi.sandbox import SandboxBank

LoadConnection = Callable[[str, str], Awaitable[tuple[Connection, ConnectionSecrets] | None]]


class BankLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, and status calls at once per connection."""

    phone_lifetime: float = 86400.0
    connect_timeout: float = 5.0
    read_timeout: float = 25.0
    concurrency: int = 32


class BankDirectory:
    """Banks by connection. Secrets are loaded once per process; a connection's rows never change, a new one is made."""

    def __init__(self, load: LoadConnection, limits: BankLimits) -> None:
        self._load = load
        self._limits = limits
        self._phone_lifetime = timedelta(seconds=limits.phone_lifetime)
        self._sandbox = SandboxBank(phone_lifetime=self._phone_lifetime)
        self._banks: dict[str, KaspiBank] = {}
        self._loading = asyncio.Lock()

    async def of(
        self, merchant_id: str, connection_id: str | None, scene: Scene | None = None
    ) -> KaspiBank | SandboxBank:
        """The bank behind a connection, or the sandbox; `KaspiMisconfigured` where it cannot work."""
        if connection_id is None:
            return self._sandbox if scene is None else self._sandbox.acting(scene)
        bank = self._banks.get(connection_id)
        if bank is None:
            async with self._loading:
                bank = self._banks.get(connection_id)
                if bank is None:
                    bank = self._banks[connection_id] = await self._build(merchant_id, connection_id)
        return bank

    async def _build(self, merchant_id: str, connection_id: str) -> KaspiBank:
        found = await self._load(merchant_id, connection_id)
        if found is None:
            raise KaspiMisconfigured("config", "connection_not_found")
        connection, secrets = found
        # Reading the system's certificates takes tens of milliseconds, in which nobody else would get a turn.
        return await asyncio.to_thread(
            KaspiBank,
            config_of(connection, secrets, self._limits),
            secrets.device_token,
            phone_lifetime=self._phone_lifetime,
            concurrency=self._limits.concurrency,
        )

    async def aclose(self) -> None:
        """Closes every bank's connections."""
        for bank in self._banks.values():
            await bank.aclose()


def config_of(connection: Connection, secrets: ConnectionSecrets, limits: BankLimits) -> KaspiConfig:
    """What the client needs to know of a stored connection."""
    return KaspiConfig(
        scheme=connection.scheme,
        base_url=connection.base_url,
        organization_bin=connection.organization_bin,
        api_key=secrets.api_key,
        certificate_pem=secrets.certificate_pem,
        private_key_pem=secrets.private_key_pem,
        private_key_password=secrets.private_key_password,
        pfx=secrets.pfx,
        pfx_password=secrets.pfx_password,
        trust_pem=secrets.trust_pem,
        connect_timeout=limits.connect_timeout,
        read_timeout=limits.read_timeout,
    )
