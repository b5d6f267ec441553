"""Set-up calls: partner/tradepoints, device/register, device/delete (fact sheet §2.1)."""

import re
from typing import Any, Final

from emulator import callers, codes, directory
from emulator.wire import BankRequest
from emulator.world import World

_DEVICE_ID: Final = re.compile(r"[A-Za-z0-9_-]+")


def trade_points(world: World, request: BankRequest) -> list[dict[str, Any]]:
    if request.caller.scheme == "r3" and request.path_id is None:
        raise codes.BadRequestError("organizationBin")
    points = directory.trade_points(world.store, callers.organization(request).bin)
    if not points:
        raise codes.RefusalError(codes.NO_TRADE_POINTS)
    return [{"TradePointId": point.id, "TradePointName": point.name} for point in points]


def register(world: World, request: BankRequest) -> dict[str, Any]:
    owner = callers.organization(request)
    device_id = request.text("DeviceId")
    if not _DEVICE_ID.fullmatch(device_id):
        raise codes.BadRequestError("DeviceId")
    token = directory.register_device(world.store, owner.bin, device_id, request.number("TradePointId"))
    return {"DeviceToken": token}


def delete(world: World, request: BankRequest) -> None:
    owner = callers.organization(request)
    directory.delete_device(world.store, owner.bin, request.text("DeviceToken"))
