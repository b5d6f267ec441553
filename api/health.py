"""Is the process alive; can it do its work."""

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec

from api.services import Services
from db.errors import DatabaseUnavailable


class Live(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Each part: ok or unavailable."""

    status: str
    database: str
    engine: str


@get("/health/live", sync_to_thread=False, tags=["Health"], summary="Liveness", operation_id="live", security=[{}])
def live() -> Live:
    """GET /health/live."""
    return Live()


@get(
    "/health/ready",
    tags=["Health"],
    summary="Readiness",
    operation_id="ready",
    security=[{}],
    responses={503: ResponseSpec(Ready, description="A part is away.", generate_examples=False)},
)
async def ready(request: Request[Any, Any, Any]) -> Response[Ready]:
    """GET /health/ready: 200, or 503 naming the part that is away."""
    services: Services = request.app.state.services
    try:
        await services.reads.ping()
        database = "ok"
    except DatabaseUnavailable:
        database = "unavailable"
    engine = "ok" if await services.engine.ready() else "unavailable"
    fine = database == engine == "ok"
    body = Ready(status="ok" if fine else "unavailable", database=database, engine=engine)
    return Response(body, status_code=200 if fine else 503)
