"""Which calls exist on which scheme, and what they run (fact sheet §2)."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from emulator import bank_contour, bank_payments, bank_refunds, bank_remote, bank_setup
from emulator.model import Scheme
from emulator.wire import BankRequest
from emulator.world import World

Handler = Callable[[World, BankRequest], Any]

_ALL: Final[frozenset[Scheme]] = frozenset({"r1", "r2", "r3"})
_R2: Final[frozenset[Scheme]] = frozenset({"r2"})
_R3: Final[frozenset[Scheme]] = frozenset({"r3"})


class Call(msgspec.Struct, frozen=True):
    """`takes_id`: one more path segment follows; on partner/tradepoints only r3 has it."""

    method: str
    schemes: frozenset[Scheme]
    handler: Handler
    takes_id: bool = False


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it was addressed."""

    scheme: Scheme
    version: str
    call: str
    path_id: str | None
    handler: Handler


def _ping(world: World, request: BankRequest) -> None:
    """Nothing but the envelope."""


CALLS: Final[dict[str, Call]] = {
    "partner/tradepoints": Call("GET", _ALL, bank_setup.trade_points, takes_id=True),
    "device/register": Call("POST", _ALL, bank_setup.register),
    "device/delete": Call("POST", _ALL, bank_setup.delete),
    "qr/create": Call("POST", _ALL, bank_payments.create_qr),
    "qr/create-link": Call("POST", _ALL, bank_payments.create_link),
    "payment/status": Call("GET", _ALL, bank_payments.status, takes_id=True),
    "payment/details": Call("GET", _R2 | _R3, bank_refunds.details),
    "payment/return": Call("POST", _R2 | _R3, bank_refunds.give_back),
    "return/create": Call("POST", _R2, bank_refunds.create_return),
    "return/status": Call("GET", _R2, bank_refunds.return_status, takes_id=True),
    "return/operations": Call("POST", _R2, bank_refunds.operations),
    "remote/client-info": Call("GET", _R3, bank_remote.client_info),
    "remote/create": Call("POST", _R3, bank_remote.create),
    "remote/cancel": Call("POST", _R3, bank_remote.cancel),
    "health/ping": Call("GET", _ALL, _ping),
    "test/payment/scan": Call("POST", _ALL, bank_contour.scan),
    "test/payment/confirm": Call("POST", _ALL, bank_contour.confirm),
    "test/payment/scanerror": Call("POST", _ALL, bank_contour.scan_error),
    "test/payment/confirmerror": Call("POST", _ALL, bank_contour.confirm_error),
}


def find(method: str, path: str) -> Route | int:
    """The call behind a path (a trailing slash is tolerated), or the HTTP status that says there is none."""
    parts = path.strip("/").split("/")
    if len(parts) < 4:
        return 404
    scheme, version, *rest = parts
    name, path_id = "/".join(rest), None
    if name not in CALLS:
        name, path_id = "/".join(rest[:-1]), rest[-1]
    call = CALLS.get(name)
    if call is None or scheme not in call.schemes or not _addressed(call, name, scheme, path_id):
        return 404
    if version != "v01" and (version, name) != ("v02", "payment/status"):
        return 404
    if method != call.method:
        return 405
    return Route(scheme=scheme, version=version, call=name, path_id=path_id, handler=call.handler)


def _addressed(call: Call, name: str, scheme: Scheme, path_id: str | None) -> bool:
    wanted = call.takes_id and (name != "partner/tradepoints" or scheme == "r3")
    return wanted == (path_id is not None)
