"""Who may call and for whom: organisations, their trade points, their devices."""

import uuid
from typing import Final

import msgspec

from emulator import codes
from emulator.certs import DEMO_PARTNER
from emulator.model import Device, Organization, Scheme, TradePoint
from emulator.store import Store

DEMO_BIN: Final = "210140000016"
DEMO_API_KEY: Final = "test_6f1d3c52-8a47-4d0b-9b1e-2f5a7c9e0d11"
ALL_SCHEMES: Final[tuple[Scheme, ...]] = ("r1", "r2", "r3")
_FIRST_TRADE_POINT: Final = 10_001
_TOKENS: Final = uuid.UUID("5b1f2f0e-9a3d-4c55-8e5b-7d3e5a7f2c10")


def ensure_demo(store: Store) -> None:
    """One organisation with two trade points, so that nobody has to configure anything."""
    if store.rows("SELECT 1 FROM organizations LIMIT 1"):
        return
    with store.transaction():
        store.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('trade_points', ?)", (_FIRST_TRADE_POINT - 1,))
        save_organization(
            store,
            Organization(
                bin=DEMO_BIN,
                name="Demo LLP",
                partner_cn=DEMO_PARTNER,
                api_key=DEMO_API_KEY,
                schemes=ALL_SCHEMES,
            ),
        )
        for name in ("Demo shop", "Demo cafe"):
            save_trade_point(store, DEMO_BIN, name)


def save_organization(store: Store, organization: Organization) -> None:
    store.execute(
        "INSERT INTO organizations (bin, name, partner_cn, api_key, schemes) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (bin) DO UPDATE SET name = excluded.name, partner_cn = excluded.partner_cn,"
        " schemes = excluded.schemes",
        (
            organization.bin,
            organization.name,
            organization.partner_cn,
            organization.api_key,
            ",".join(organization.schemes),
        ),
    )


def save_trade_point(
    store: Store, organization_bin: str, name: str, *, enabled: bool = True, qr_enabled: bool = True
) -> None:
    store.execute(
        "INSERT INTO trade_points (organization_bin, name, enabled, qr_enabled) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (organization_bin, name) DO UPDATE SET enabled = excluded.enabled,"
        " qr_enabled = excluded.qr_enabled",
        (organization_bin, name, enabled, qr_enabled),
    )


def organizations(store: Store) -> list[Organization]:
    """All of them, oldest first."""
    rows = store.rows("SELECT * FROM organizations ORDER BY rowid")
    return [msgspec.convert(row | {"schemes": row["schemes"].split(",")}, Organization) for row in rows]


def trade_points(store: Store, organization_bin: str) -> list[TradePoint]:
    return store.many(
        TradePoint, "SELECT * FROM trade_points WHERE organization_bin = ? ORDER BY id", (organization_bin,)
    )


def trade_point(store: Store, trade_point_id: int) -> TradePoint | None:
    return store.one(TradePoint, "SELECT * FROM trade_points WHERE id = ?", (trade_point_id,))


def register_device(store: Store, organization_bin: str, device_id: str, point_id: int) -> str:
    """The device's token; the same arguments give the same token, also after a deletion (fact sheet §2.1)."""
    point = trade_point(store, point_id)
    if point is None or point.organization_bin != organization_bin:
        raise codes.RefusalError(codes.TRADE_POINT_NOT_FOUND)
    if not point.qr_enabled:
        raise codes.RefusalError(codes.NO_QR_AT_TRADE_POINT)
    elsewhere = store.rows(
        "SELECT 1 FROM devices WHERE organization_bin = ? AND device_id = ? AND active AND trade_point_id <> ?",
        (organization_bin, device_id, point_id),
    )
    if elsewhere:
        raise codes.RefusalError(codes.DEVICE_ELSEWHERE)
    token = str(uuid.uuid5(_TOKENS, f"{organization_bin}/{device_id}/{point_id}"))
    store.execute(
        "INSERT INTO devices (token, organization_bin, device_id, trade_point_id, active) VALUES (?, ?, ?, ?, 1)"
        " ON CONFLICT (token) DO UPDATE SET active = 1",
        (token, organization_bin, device_id, point_id),
    )
    return token


def delete_device(store: Store, organization_bin: str, token: str) -> None:
    known = device(store, token)
    if known is None or known.organization_bin != organization_bin or not known.active:
        raise codes.RefusalError(codes.DEVICE_NOT_FOUND)
    store.execute("UPDATE devices SET active = 0 WHERE token = ?", (token,))


def device(store: Store, token: str) -> Device | None:
    return store.one(Device, "SELECT * FROM devices WHERE token = ?", (token.lower(),))
