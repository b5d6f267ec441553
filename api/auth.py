"""Who asks: the X-API-Key header, hashed, looked up in one statement."""

from typing import Any

import structlog
from litestar import Request

from api.rate_limits import admit
from api.services import Services
from domain.errors import Code, TolemError
from domain.merchant import Mode, Principal
from runtime.secrets import api_key_mode, hash_api_key


async def services_of(request: Request[Any, Any, Any]) -> Services:
    """The gateways (dependency `services`)."""
    found: Services = request.app.state.services
    return found


async def principal_of(request: Request[Any, Any, Any], services: Services) -> Principal:
    """The principal of the key (dependency `principal`); 401 without a valid one, 429 beyond its limit."""
    key = request.headers.get("x-api-key", "")
    # The checksum in the key refuses typos and noise without asking the database.
    if api_key_mode(key) is None:
        raise TolemError(Code.UNAUTHORIZED)
    principal = await services.reads.authenticate(hash_api_key(key), services.rate_limit)
    if principal is None:
        raise TolemError(Code.UNAUTHORIZED)
    structlog.contextvars.bind_contextvars(merchant=principal.merchant.id, api_key=principal.key_id)
    admit(request.scope, principal.allowance)
    return principal


def sees_sandbox_only(principal: Principal) -> bool:
    """A test key works with sandbox objects only."""
    return principal.mode is Mode.TEST


def sandbox_of(principal: Principal, *, asked: bool | None) -> bool:
    """Whether a new object is a sandbox one; by default the key's mode decides."""
    if asked is None:
        return principal.mode is Mode.TEST
    if not asked and principal.mode is Mode.TEST:
        raise TolemError(Code.FORBIDDEN_MODE)
    return asked
