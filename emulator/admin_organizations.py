"""Admin calls about merchants: more organisations, their trade points and credentials."""

import uuid
from typing import Annotated, Any, Final

import msgspec
from litestar import get, post

from emulator import directory
from emulator.certs import DEMO_PARTNER
from emulator.model import Organization, Scheme
from emulator.world import World

_NAME = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class NewTradePoint(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`enabled` false → 990000018, `qr_enabled` false → 990000026."""

    name: _NAME
    enabled: bool = True
    qr_enabled: bool = True


class NewOrganization(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A known BIN is changed: name, schemes, partner; named trade points are added or changed."""

    bin: Annotated[str, msgspec.Meta(pattern=r"^\d{12}$")]
    name: _NAME
    trade_points: list[_NAME | NewTradePoint] = []
    schemes: Annotated[tuple[Scheme, ...], msgspec.Meta(min_length=1)] = directory.ALL_SCHEMES
    partner_cn: _NAME = DEMO_PARTNER


@post("/emulator/organizations", sync_to_thread=False)
def save(world: World, data: NewOrganization) -> dict[str, Any]:
    """Answers the credentials: the r1 key and the common name of the client certificate that acts for it."""
    known = {one.bin: one for one in directory.organizations(world.store)}.get(data.bin)
    organization = Organization(
        bin=data.bin,
        name=data.name,
        partner_cn=data.partner_cn,
        api_key=known.api_key if known else f"test_{uuid.uuid4()}",
        schemes=data.schemes,
    )
    with world.store.transaction():
        directory.save_organization(world.store, organization)
        for given in data.trade_points:
            point = NewTradePoint(name=given) if isinstance(given, str) else given
            directory.save_trade_point(
                world.store, data.bin, point.name, enabled=point.enabled, qr_enabled=point.qr_enabled
            )
    return _view(world, organization)


@get("/emulator/organizations", sync_to_thread=False)
def list_all(world: World) -> dict[str, Any]:
    return {"organizations": [_view(world, one) for one in directory.organizations(world.store)]}


def _view(world: World, organization: Organization) -> dict[str, Any]:
    points = directory.trade_points(world.store, organization.bin)
    devices = world.store.rows(
        "SELECT token, device_id, trade_point_id, active FROM devices WHERE organization_bin = ?",
        (organization.bin,),
    )
    return {
        "bin": organization.bin,
        "name": organization.name,
        "schemes": organization.schemes,
        "api_key": organization.api_key,
        "partner_cn": organization.partner_cn,
        "trade_points": [
            {"id": one.id, "name": one.name, "enabled": one.enabled, "qr_enabled": one.qr_enabled} for one in points
        ],
        "devices": [row | {"active": bool(row["active"])} for row in devices],
    }


HANDLERS: Final = [save, list_all]
