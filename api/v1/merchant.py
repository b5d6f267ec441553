"""Who the key belongs to, and how its link to Kaspi is."""

import msgspec
from litestar import get, post

from api.services import Services
from api.v1.responses import errors
from contracts import v1
from contracts.v1_json import MerchantJson, SessionJson
from domain.merchant import Principal


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The key is valid; this is its organisation."""

    verified: bool
    organization: MerchantJson


def _merchant(principal: Principal) -> MerchantJson:
    return v1.merchant(principal.merchant, principal.mode, kaspi_connected=principal.connection_id is not None)


@post(
    "/organizations/verify",
    status_code=200,
    tags=["Merchant"],
    summary="Verify the API key and its organisation",
    operation_id="verifyOrganization",
    responses=errors(401, 503),
)
async def verify_organization(principal: Principal) -> Verified:
    """POST /organizations/verify."""
    return Verified(verified=True, organization=_merchant(principal))


@get("/me", tags=["Merchant"], summary="The merchant of this key", operation_id="getMe", responses=errors(401, 503))
async def me(principal: Principal) -> MerchantJson:
    """GET /v1/me."""
    return _merchant(principal)


@get(
    "/kaspi/session",
    tags=["Merchant"],
    summary="How the link to Kaspi is",
    operation_id="getKaspiSession",
    responses=errors(401, 503),
)
async def kaspi_session(services: Services, principal: Principal) -> SessionJson:
    """GET /v1/kaspi/session."""
    return v1.session(await services.reads.connection(principal.merchant.id))
