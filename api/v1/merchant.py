"""Who the key belongs to, and how its link to Kaspi is."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec

from api.bodies import read_body
from api.organizations import OrganizationVerify, Verified, verify
from api.services import Services
from api.v1.responses import errors
from contracts import v1
from contracts.apipay_json import VerificationStarted
from contracts.v1_json import MerchantJson, SessionJson
from domain.merchant import Principal


def _merchant(principal: Principal) -> MerchantJson:
    return v1.merchant(principal.merchant, principal.mode, kaspi_connected=principal.connection_id is not None)


@post(
    "/organizations/verify",
    status_code=200,
    tags=["Merchant"],
    summary="Verify the API key and its organisation",
    description="Without a body. With one it is a question of the [ApiPay contract](/api/docs/apipay).",
    operation_id="verifyOrganization",
    responses={**errors(401, 503), 200: ResponseSpec(Verified, description="Verified.", generate_examples=False)},
)
async def verify_organization(
    request: Request[Any, Any, Any], services: Services, principal: Principal
) -> Response[Verified | VerificationStarted]:
    """POST /organizations/verify."""
    raw = await request.body()
    asked = read_body(OrganizationVerify, raw) if raw else None
    return Response(await verify(request, services, principal, asked))


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
