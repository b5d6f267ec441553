"""Who is calling the bank: Api-Key on r1, the client certificate's partner on r2 and r3 (fact sheet §1)."""

from emulator import codes, directory
from emulator.model import Device, Organization, Scheme
from emulator.wire import BankRequest, Caller
from emulator.world import World


def identify(world: World, scheme: Scheme, api_key: str | None, partner_cn: str | None) -> Caller:
    """Raises UnknownKeyError on r1, RefusalError -10000 on r2 and r3.

    On r1 and r2 there is one organisation: the key's, and the first one of the certificate's partner.
    """
    known = [one for one in directory.organizations(world.store) if scheme in one.schemes]
    if scheme == "r1":
        mine = [one for one in known if api_key is not None and one.api_key == api_key]
        if not mine:
            raise codes.UnknownKeyError
    else:
        mine = [one for one in known if partner_cn is not None and one.partner_cn == partner_cn]
        if not mine:
            raise codes.RefusalError(codes.NO_CERTIFICATE)
    if scheme != "r3":
        mine = mine[:1]
    return Caller(scheme, {one.bin: one for one in mine})


def organization(request: BankRequest) -> Organization:
    """The organisation this call is for: on r3 the one named, which must be the partner's (-10000 if not)."""
    organizations = request.caller.organizations
    if request.caller.scheme != "r3":
        return next(iter(organizations.values()))
    # GET partner/tradepoints/{bin} carries it in the path.
    named = request.path_id or request.text("OrganizationBin")
    if named not in organizations:
        raise codes.RefusalError(codes.NO_CERTIFICATE)
    return organizations[named]


def device(world: World, request: BankRequest, owner: Organization | None = None, *, inactive: int) -> Device:
    """The calling device: of `owner`, or of any organisation of the caller where the call names none.

    `inactive` is the code for a deleted device, as not every call lists -1502.
    """
    found = directory.device(world.store, request.text("DeviceToken"))
    if found is None or found.organization_bin not in request.caller.organizations:
        raise codes.RefusalError(codes.DEVICE_NOT_FOUND)
    if owner is not None and found.organization_bin != owner.bin:
        raise codes.RefusalError(codes.DEVICE_NOT_FOUND)
    if not found.active:
        raise codes.RefusalError(inactive)
    return found


def require_open_trade_point(world: World, till: Device, *, qr: bool) -> None:
    """Raises RefusalError for a trade point that is gone, switched off, or (with `qr`) takes no QR payments."""
    point = directory.trade_point(world.store, till.trade_point_id)
    if point is None:
        raise codes.RefusalError(codes.TRADE_POINT_NOT_FOUND)
    if not point.enabled:
        raise codes.RefusalError(codes.TRADE_POINT_DISABLED)
    if qr and not point.qr_enabled:
        raise codes.RefusalError(codes.NO_QR_AT_TRADE_POINT)
