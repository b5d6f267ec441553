"""Every code of the one list crosses the API whole; what is no code of ours tells nothing of itself."""

import base64
from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import get
from litestar.testing import AsyncTestClient

from api.app import SECTIONS, production_app
from api.request_ids import request_ids
from db.errors import DatabaseUnavailable
from domain.errors import Code, FieldError, TolemError
from runtime import settings as conf
from tests.support.api_errors import assert_error
from workflows.client import EngineAway

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

_RING = "k1:" + base64.b64encode(bytes(range(32))).decode()
# The real application with its real gateways; nothing listens at their addresses and no test here needs it.
_ENVIRONMENT = {
    "TOLEM_DATABASE_URL": "postgresql+asyncpg://nobody:nothing@127.0.0.1:9/none",
    "TOLEM_TEMPORAL_ADDRESS": "127.0.0.1:9",
    "TOLEM_SEAL_KEYS": _RING,
    "TOLEM_PAYLOAD_KEYS": _RING,
    "TOLEM_CODEC_TOKEN": "only-for-the-tests-of-errors",
    "TOLEM_PUBLIC_URL": "http://127.0.0.1:9",
}
HIDDEN = "77010000000 select * from invoices"
UNEXPECTED = {
    "value": (ValueError(HIDDEN), Code.INTERNAL),
    "key": (KeyError(HIDDEN), Code.INTERNAL),
    "database": (DatabaseUnavailable(HIDDEN), Code.DATABASE_UNAVAILABLE),
    "engine": (EngineAway(HIDDEN), Code.ENGINE_SLOW),
}


@get("/raise/{code:str}")
async def _raise_code(code: Code) -> None:
    details = {"state": "paid"}
    raise TolemError(code, errors=[FieldError("a", "b", "c")], details=details)


@get("/unexpected/{name:str}")
async def _raise_unexpected(name: str) -> None:
    raise UNEXPECTED[name][0]


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[httpx.AsyncClient]:
    app = production_app(conf.load(*SECTIONS, environ=_ENVIRONMENT))
    app.register(_raise_code)
    app.register(_raise_unexpected)
    async with AsyncTestClient(app, raise_server_exceptions=False):  # runs the lifespan
        transport = httpx.ASGITransport(request_ids(app), raise_app_exceptions=False)  # type: ignore[arg-type]  # Litestar's own ASGI types
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            yield client


@pytest.mark.parametrize("code", list(Code))
async def test_every_code_crosses_with_its_status_and_the_whole_body(api: httpx.AsyncClient, code: Code) -> None:
    body = assert_error(await api.get(f"/raise/{code}"), code)
    assert body["errors"] == [{"field": "a", "code": "b", "message": "c"}]
    assert body["details"] == {"state": "paid"}


@pytest.mark.parametrize("name", UNEXPECTED)
async def test_an_unexpected_failure_tells_nothing_of_itself(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.get(f"/unexpected/{name}")
    assert_error(answer, UNEXPECTED[name][1])
    assert HIDDEN not in answer.text
    assert "Traceback" not in answer.text
