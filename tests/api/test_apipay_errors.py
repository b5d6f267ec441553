"""Every code crosses ApiPay's addresses in its own shape; what is no code of ours tells nothing of itself."""

from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import get
from litestar.testing import AsyncTestClient

from api.app import SECTIONS, production_app
from api.request_ids import request_ids
from contracts.apipay_answers import STATUS
from domain.errors import Code, FieldError, TolemError
from runtime import settings as conf
from tests.api.test_error_codes import _ENVIRONMENT, HIDDEN, UNEXPECTED

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")


@get("/api/refunds/raise/{code:str}")
async def _raise_code(code: Code) -> None:
    raise TolemError(code, errors=[FieldError("amount", "b", "c")], details={"state": "paid"})


@get("/api/refunds/unexpected/{name:str}")
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
async def test_every_code_crosses_with_its_status_and_names_the_fields(api: httpx.AsyncClient, code: Code) -> None:
    answer = await api.get(f"/api/refunds/raise/{code}")
    assert answer.status_code == STATUS[code]
    body = answer.json()
    assert (body["code"], body["errors"]) == (code, {"amount": ["c"]})
    assert body["request_id"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (answer.status_code == 503)


@pytest.mark.parametrize("name", UNEXPECTED)
async def test_an_unexpected_failure_tells_nothing_of_itself(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.get(f"/api/refunds/unexpected/{name}")
    assert answer.status_code == STATUS[UNEXPECTED[name][1]]
    assert answer.json()["code"] == UNEXPECTED[name][1]
    assert HIDDEN not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("path", "theirs"),
    [
        ("/api/invoices/abc", True),
        ("/api/recurring-invoices/abc", True),
        ("/api/organizations/abc/status", True),
        ("/api/v1/nothing", False),
        ("/api/nothing", False),
    ],
)
async def test_an_address_that_is_none_is_404_in_the_words_of_its_contract(
    api: httpx.AsyncClient, path: str, *, theirs: bool
) -> None:
    answer = await api.get(path)
    assert answer.status_code == 404
    assert ("doc" not in answer.json()) is theirs
