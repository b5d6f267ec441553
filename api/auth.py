"""Who asks: the X-API-Key header, hashed, looked up in one statement."""

from typing import Any

import structlog
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.rate_limits import admit
from api.services import Services
from domain.errors import Code, TolemError
from domain.merchant import Mode, Principal
from runtime.secrets import api_key_mode, hash_api_key

_PRINCIPAL = "principal"


async def services_of(request: Request[Any, Any, Any]) -> Services:
    """The gateways (dependency `services`)."""
    found: Services = request.app.state.services
    return found


async def key_needed(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard of every address that needs a key: 401 without a valid one, 429 beyond its limit.

    A guard, because those come before the body is read: who has no key learns nothing of bodies, and a request with a
    wrong one is counted, and told what is left, like any other.
    """
    if connection.scope.get("method") == "OPTIONS":  # the framework's own answer: which methods there are
        return
    key = connection.headers.get("x-api-key", "")
    # The checksum in the key refuses typos and noise without asking the database.
    if api_key_mode(key) is None:
        raise TolemError(Code.UNAUTHORIZED)
    services: Services = connection.app.state.services
    principal = await services.reads.authenticate(hash_api_key(key), services.rate_limit)
    if principal is None:
        raise TolemError(Code.UNAUTHORIZED)
    structlog.contextvars.bind_contextvars(merchant=principal.merchant.id, api_key=principal.key_id)
    connection.scope.setdefault("state", {})[_PRINCIPAL] = principal
    admit(connection.scope, principal.allowance)


async def principal_of(request: Request[Any, Any, Any]) -> Principal:
    """Whom the guard has let in (dependency `principal`)."""
    found: Principal = request.scope["state"][_PRINCIPAL]
    return found


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
