"""The public API as a program of a merchant uses it: one key, answers as JSON, failures with their codes."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

from runtime.secrets import Secret

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
USER_AGENT = "tolem-cli"

Params = Mapping[str, str | int | Sequence[str]]


class ApiRefused(Exception):
    """The API answered with an error; `status` is HTTP's, `code` the contract's. The text tells all that is wrong."""

    def __init__(self, status: int, code: str, message: str, lines: Sequence[str] = ()) -> None:
        self.status = status
        self.code = code
        super().__init__("\n".join([f"{code}: {message}", *lines]))


class ApiAway(Exception):
    """No answer came. Nobody knows whether the request was heard."""


class ApiClient:
    """An async context manager. `url` is the API's address without `/api`."""

    def __init__(self, url: str, key: Secret) -> None:
        self.url = url
        self.http = httpx.AsyncClient(
            base_url=url,
            headers={"X-API-Key": key.reveal(), "User-Agent": USER_AGENT},
            # Neither proxies nor .netrc of the environment: a key goes where the person said.
            trust_env=False,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def get(self, path: str, params: Params | None = None) -> Any:
        """The answer's JSON. Raises `ApiRefused`, `ApiAway`."""
        return await self._call("GET", path, params=params)

    async def post(self, path: str, body: object = None) -> Any:
        """The answer's JSON; without `body` none is sent. Raises `ApiRefused`, `ApiAway`."""
        return await self._call("POST", path, json=body) if body is not None else await self._call("POST", path)

    async def _call(self, method: str, path: str, **parts: Any) -> Any:
        try:
            answer = await self.http.request(method, path, **parts)
        except httpx.TransportError as error:
            raise ApiAway(away(self.url, error)) from error
        if not answer.is_success:
            raise refused(answer.status_code, answer.content)
        try:
            return msgspec.json.decode(answer.content)
        except msgspec.DecodeError:
            raise ApiRefused(answer.status_code, "no_json", _NOT_OURS) from None


_NOT_OURS = "This is not an answer of Tölem's API; is the address right?"


def away(url: str, error: Exception) -> str:
    """Why nobody answered, in words for a person."""
    return f"The API at {url} cannot be reached ({str(error) or type(error).__name__})."


def refused(status: int, body: bytes) -> ApiRefused:
    """The error in an answer that is none of success."""
    try:
        said = msgspec.json.decode(body, type=_Error)
    except msgspec.MsgspecError:
        return ApiRefused(status, f"HTTP {status}", _NOT_OURS)
    lines = [f"  {one.field}: {one.message}" for one in said.errors]
    lines += [f"  {name}: {value}" for name, value in said.details.items()]
    return ApiRefused(status, said.error, said.message, lines)


def part(id_: str) -> str:
    """An id as one segment of a path, whatever was typed."""
    return quote(id_, safe="")


class _FieldError(msgspec.Struct):
    field: str
    message: str


class _Error(msgspec.Struct):
    """What this side reads of the error contract; a newer API may have more codes and fields."""

    error: str
    message: str
    errors: list[_FieldError] = []
    details: dict[str, str] = {}
