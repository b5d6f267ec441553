"""Behind the one address that both contracts have, `POST /api/organizations/verify`, and ApiPay's polling of it."""

from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Request
from msgspec import Meta

from api.auth import sees_sandbox_only
from api.bodies import RequestBody, Rule
from api.request_ids import request_id_of
from api.services import Services
from contracts import v1
from contracts.apipay_answers import organization_state, verification_started
from contracts.apipay_json import OrganizationState, VerificationStarted
from contracts.v1_json import MerchantJson
from db.errors import TooManyOrganizations
from domain.bin import valid_bin
from domain.errors import Code, TolemError
from domain.merchant import Principal
from domain.organization import MAX_ORGANIZATIONS, Organization, OrganizationStatus, expired, verification


def checked_idn(value: str) -> str:
    """Used as a rule: ValueError for what is no BIN or IIN."""
    if len(value) != 12 or not (value.isascii() and value.isdigit()):
        raise ValueError("IIN/BIN must contain exactly 12 digits")
    if not valid_bin(value):
        raise ValueError("IIN/BIN has a wrong check digit")
    return value


IdnIn = Annotated[
    str,
    Meta(description="IIN or BIN (12 digits).", examples=["210140000016"], extra_json_schema={"pattern": "[0-9]{12}"}),
]


class OrganizationVerify(RequestBody):
    """ApiPay's: which organisation this key is to be verified for. Without any body it is v1's question."""

    RULES: ClassVar[dict[str, Rule]] = {"idn": checked_idn}

    idn: IdnIn


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The key is valid; this is its organisation."""

    verified: bool
    organization: MerchantJson


async def verify(
    request: Request[Any, Any, Any], services: Services, principal: Principal, data: OrganizationVerify | None
) -> Verified | VerificationStarted:
    """Without a body the key's organisation; with one a verification of it begins."""
    if data is None:
        connected = principal.connection_id is not None
        return Verified(
            verified=True, organization=v1.merchant(principal.merchant, principal.mode, kaspi_connected=connected)
        )
    return await start_verification(request, services, principal, data)


async def start_verification(
    request: Request[Any, Any, Any], services: Services, principal: Principal, data: OrganizationVerify
) -> VerificationStarted:
    """A verification begins, or begins anew; the answer tells how it stands."""
    try:
        started = await services.organizations.start(
            principal.merchant.id,
            data.idn,
            is_sandbox=sees_sandbox_only(principal),
            asked_by=principal.key_id,
            request_id=request_id_of(request.scope),
        )
    except TooManyOrganizations as error:
        raise TolemError(Code.LIMIT_REACHED, details={"limit": str(MAX_ORGANIZATIONS)}) from error
    return verification_started(started, await _status(services, principal, started), started.started_at)


async def verification_state(services: Services, principal: Principal, number: int) -> OrganizationState:
    """How a verification stands; `TolemError` 404 for none, 410 for one that nobody confirmed in time."""
    known = 0 < number <= MAX_ORGANIZATIONS
    merchant, sandbox = principal.merchant.id, sees_sandbox_only(principal)
    found = await services.organizations.organization(merchant, number, is_sandbox=sandbox) if known else None
    if found is None:
        raise TolemError(Code.NOT_FOUND)
    status = await _status(services, principal, found)
    if expired(found, status, principal.database_now):
        raise TolemError(Code.VERIFICATION_EXPIRED)
    return organization_state(found, status, principal.database_now)


async def _status(services: Services, principal: Principal, organization: Organization) -> OrganizationStatus:
    connection = await services.reads.connection(principal.merchant.id)
    return verification(organization, principal.merchant, connection)
