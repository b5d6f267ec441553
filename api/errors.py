"""Every failure to the error body of the contract spoken. Nothing of a stack trace, SQL or upstream text leaks."""

from datetime import UTC, datetime
from typing import Any

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, ValidationException

from api.request_ids import request_id_of
from api.services import Services
from api.wrong_values import wrong_value
from contracts import apipay_answers
from contracts.v1 import STATUS
from db.errors import DatabaseUnavailable
from domain.errors import Code, FieldError, TolemError, invalid
from workflows.client import EngineAway

log = structlog.get_logger(__name__)

_BY_STATUS = {
    401: Code.UNAUTHORIZED,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.PAYLOAD_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
}
APIPAY = ("/api/invoices", "/api/refunds", "/api/recurring-invoices", "/api/organizations")
SHARED = "/api/organizations/verify"
RETRY_AFTER_SECONDS = 2
_RETRY_AFTER = {Code.ENGINE_UNAVAILABLE, Code.ENGINE_SLOW, Code.DATABASE_UNAVAILABLE, Code.CREATION_IN_DOUBT}

AnyRequest = Request[Any, Any, Any]


def answer(request: AnyRequest, error: TolemError) -> Response[Any]:
    """The error as an HTTP answer."""
    status, body = _told(request, error)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.code in _RETRY_AFTER else {}
    if error.code is Code.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'ApiKey realm="tolem"'
    return Response(body, status_code=status, headers=headers, media_type=MediaType.JSON)


def _told(request: AnyRequest, error: TolemError) -> tuple[int, Any]:
    """Status and body in the words of the contract that was spoken to."""
    request_id = request_id_of(request.scope)
    if speaks_apipay(request):
        return apipay_answers.status_of(error), apipay_answers.error_answer(error, request_id)
    services: Services = request.app.state.services
    return STATUS[error.code], services.v1.error(error, request_id, datetime.now(UTC))


def speaks_apipay(request: AnyRequest) -> bool:
    """Whether the request is one of ApiPay's contract; the address both have is v1's where there is no body."""
    path = request.scope["path"].rstrip("/")
    if path == SHARED:
        return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return path.startswith(APIPAY)


def on_tolem_error(request: AnyRequest, error: TolemError) -> Response[Any]:
    """A failure with a code."""
    return answer(request, error)


def on_database(request: AnyRequest, error: DatabaseUnavailable) -> Response[Any]:
    """Postgres is away; creations are idempotent, reads can be repeated."""
    log.warning("database_unavailable", cause=str(error))
    return answer(request, TolemError(Code.DATABASE_UNAVAILABLE))


def on_engine(request: AnyRequest, error: EngineAway) -> Response[Any]:
    """Temporal or the workers are away or slow, and the caller's question is not a creation."""
    log.warning("engine_away", cause=str(error))
    return answer(request, TolemError(Code.ENGINE_SLOW))


def on_validation(request: AnyRequest, error: ValidationException) -> Response[Any]:
    """Wrong parameters, every one of them."""
    found = error.extra if isinstance(error.extra, list) else []
    errors = [_wrong_parameter(request, item) for item in found if isinstance(item, dict)]
    return answer(request, invalid(*(errors or [FieldError("", "invalid", "The request is not valid.")])))


def _wrong_parameter(request: AnyRequest, item: dict[str, Any]) -> FieldError:
    name = str(item.get("key", ""))
    known = request.route_handler.parsed_fn_signature.parameters.get(name.split(".", maxsplit=1)[0])
    return wrong_value(name, str(item.get("message", "wrong value")), Any if known is None else known.raw)


def on_http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What the framework itself refuses."""
    if error.status_code >= 500:
        return on_anything(request, error)
    code = _BY_STATUS.get(error.status_code, Code.INVALID_REQUEST)
    found = answer(request, TolemError(code))
    if error.headers:
        found.headers.update({k: v for k, v in error.headers.items() if k.lower() == "allow"})
    return found


def on_anything(request: AnyRequest, error: Exception) -> Response[Any]:
    """A defect of ours: logged whole, told as a code and a request id."""
    log.error("unhandled_error", path=request.scope.get("path"), exc_info=error)
    return answer(request, TolemError(Code.INTERNAL))


HANDLERS: dict[Any, Any] = {
    TolemError: on_tolem_error,
    DatabaseUnavailable: on_database,
    EngineAway: on_engine,
    ValidationException: on_validation,
    HTTPException: on_http,
    Exception: on_anything,
}
