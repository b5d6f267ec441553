"""`/api/organizations`: verifying what a key is for. The first of the two is v1's too."""

from typing import Any

from litestar import Request, get, post

from api.apipay.responses import errors
from api.bodies import JsonBody
from api.organizations import OrganizationVerify, start_verification, verification_state
from api.services import Services
from contracts.apipay_json import OrganizationState, VerificationStarted
from domain.merchant import Principal


@post(
    "/organizations/verify",
    status_code=200,
    dto=JsonBody[OrganizationVerify],
    return_dto=None,
    tags=["Organizations"],
    summary="Start organization verification",
    description="Verified is a key of that organisation with a link to Kaspi that works; in the sandbox the number"
    " alone decides. Without any body this is v1's question: whose the key is.",
    operation_id="verifyOrganization",
    responses=errors(400),
)
async def apipay_verify(
    request: Request[Any, Any, Any],
    services: Services,
    principal: Principal,
    data: OrganizationVerify,
) -> VerificationStarted:
    """POST /organizations/verify; served by `api.v1.merchant`, which has the same address without a body."""
    return await start_verification(request, services, principal, data)


@get(
    "/organizations/{organization_id:int}/status",
    tags=["Organizations"],
    summary="Check verification status",
    description="Poll it every two seconds, until it is `verified` or 410 after 120 seconds.",
    operation_id="getOrganizationStatus",
    responses=errors(404, 410),
)
async def organization_status(services: Services, principal: Principal, organization_id: int) -> OrganizationState:
    """GET /organizations/{id}/status."""
    return await verification_state(services, principal, organization_id)
