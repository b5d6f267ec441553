"""Linking a merchant to the bank: try it, register the device, keep the secrets sealed."""

import msgspec

from db.registry import NewConnection, Registry, new_connection_id
from domain.errors import FieldError, invalid
from domain.merchant import Connection, ConnectionSecrets
from kaspi.client import KaspiClient
from kaspi.config import KaspiConfig
from runtime.secrets import SealBox


class ConnectionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the bank. Without `trade_point_id` the organisation's only trade point is taken."""

    merchant_id: str
    config: KaspiConfig
    device_id: str
    trade_point_id: int | None = None


def open_connection(box: SealBox, connection: Connection, sealed: bytes) -> tuple[Connection, ConnectionSecrets]:
    """The link with its secrets opened; `SealBroken` when no key of ours fits."""
    return connection, msgspec.json.decode(box.open(sealed, _context(connection.id)), type=ConnectionSecrets)


def _context(connection_id: str) -> str:
    return f"connection:{connection_id}"


async def connect_bank(registry: Registry, box: SealBox, plan: ConnectionPlan) -> Connection:
    """Asks the bank for its trade points, registers the device (safe to repeat), stores the link and puts it into use.

    Raises the tree of `kaspi.errors`, or `TolemError` naming the trade points to choose from.
    """
    async with KaspiClient(plan.config) as client:
        await client.ping()
        points = {point.id: point.name for point in await client.tradepoints()}
        chosen = plan.trade_point_id
        if chosen is None and len(points) == 1:
            chosen = next(iter(points))
        if chosen is None or chosen not in points:
            known = ", ".join(f"{id_} ({name})" for id_, name in sorted(points.items()))
            raise invalid(FieldError("trade_point_id", "invalid", f"Choose one of: {known}."))
        token = await client.register_device(plan.device_id, chosen)
    config = plan.config
    connection_id = new_connection_id()
    secrets = ConnectionSecrets(
        device_token=token,
        api_key=config.api_key,
        certificate_pem=config.certificate_pem,
        private_key_pem=config.private_key_pem,
        private_key_password=config.private_key_password,
        pfx=config.pfx,
        pfx_password=config.pfx_password,
        trust_pem=config.trust_pem,
    )
    return await registry.add_connection(
        NewConnection(
            id=connection_id,
            merchant_id=plan.merchant_id,
            scheme=config.scheme,
            base_url=config.base_url,
            organization_bin=config.organization_bin,
            trade_point_id=chosen,
            trade_point_name=points[chosen],
            device_id=plan.device_id,
            sealed=box.seal(msgspec.json.encode(secrets), _context(connection_id)),
        )
    )
