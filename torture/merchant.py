"""The merchant's program: asks, repeats what it may repeat, and writes down every answer it was given."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Any

import httpx
import msgspec

from domain.errors import Code
from torture.evidence import Asked, Exchange

# A client that is told 503, or nothing at all, asks again with the same key; so long, and then it gives up.
PATIENCE = 120.0
_TIMEOUT = 12.0
# As a well-bred client: longer and longer, never shorter than Retry-After.
_PAUSES = (0.5, 1.0, 2.0, 4.0)
_ANSWERED = frozenset({200, 201, 404, 409, 422, 500, 502})


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; `status` 0: nothing. `retry_after` in seconds."""

    status: int
    body: dict[str, Any]
    retry_after: float = 0.0

    @property
    def code(self) -> str | None:
        """The error's stable code."""
        return self.body.get("error") if self.status >= 400 else None


class MerchantApi:
    """One merchant's requests. `asked` holds those under idempotency keys, `strange` other unexpected answers."""

    def __init__(self, url: str, api_key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"X-API-Key": api_key, "Content-Type": "application/json"},
            trust_env=False,
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=200),
        )
        self.asked: dict[str, Asked] = {}
        self.strange: list[str] = []

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def create(self, path: str, body: Mapping[str, object], asked: Asked, *, twins: int) -> Answer | None:
        """One of the answers to `twins` identical programs that each repeat until they are answered; None: none was."""
        self.asked.setdefault(asked.key, asked)
        answers = await asyncio.gather(*(self._until_answered(path, body, asked) for _ in range(twins)))
        given = [answer for answer in answers if answer is not None]
        return next((answer for answer in given if answer.status == 201), given[0] if given else None)

    async def hang_up(self, path: str, body: Mapping[str, object], asked: Asked, *, patience: float) -> None:
        """Asks once, goes away after `patience` seconds and never asks again."""
        self.asked.setdefault(asked.key, asked)
        await self._exchange(path, body, asked, seconds=patience)

    async def misuse(self, path: str, body: Mapping[str, object], asked: Asked) -> None:
        """Sends another body under a key that was used: it must be refused, and nothing may come of it."""
        answer = await self._exchange(path, body, asked, seconds=_TIMEOUT)
        if answer.status not in {0, 422, 503}:
            self.strange.append(f"{asked.key} was used with another body and answered {answer.status}")

    async def send(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """One request without a key."""
        try:
            answer = await self._client.request(
                method, f"/api/v1{path}", content=msgspec.json.encode(body) if body else b""
            )
        except httpx.TransportError:
            return Answer(status=0, body={})
        read = _read(answer)
        if read.status == 500:
            self.strange.append(f"500 to {method} {path} at {datetime.now(UTC).isoformat()}")
        return read

    async def insist(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """Repeats a request that may be repeated, until it is answered or patience ends."""
        ends, pauses = asyncio.get_running_loop().time() + PATIENCE, _pauses()
        while (answer := await self.send(method, path, body)).status not in _ANSWERED:
            if asyncio.get_running_loop().time() > ends:
                break
            await asyncio.sleep(max(next(pauses), answer.retry_after))
        return answer

    async def _until_answered(self, path: str, body: Mapping[str, object], asked: Asked) -> Answer | None:
        ends, pauses = asyncio.get_running_loop().time() + PATIENCE, _pauses()
        while asyncio.get_running_loop().time() < ends:
            answer = await self._exchange(path, body, asked, seconds=_TIMEOUT)
            if answer.status in _ANSWERED and answer.code != Code.KASPI_OUTCOME_UNKNOWN:
                return answer
            await asyncio.sleep(max(next(pauses), answer.retry_after))
        return None

    async def _exchange(self, path: str, body: Mapping[str, object], asked: Asked, *, seconds: float) -> Answer:
        began = datetime.now(UTC)
        try:
            async with asyncio.timeout(seconds):
                answer = _read(
                    await self._client.post(
                        f"/api/v1{path}", content=msgspec.json.encode(body), headers={"Idempotency-Key": asked.key}
                    )
                )
        except (httpx.TransportError, TimeoutError):
            answer = Answer(status=0, body={})
        asked.exchanges.append(
            Exchange(
                began=began,
                ended=datetime.now(UTC),
                status=answer.status or None,
                code=answer.code,
                made=_made(answer),
            )
        )
        return answer


def tenge(tiyn: int) -> msgspec.Raw:
    """A JSON number with two decimals, never a float."""
    return msgspec.Raw(f"{tiyn // 100}.{tiyn % 100:02d}".encode())


def _pauses() -> Iterator[float]:
    return chain(_PAUSES, repeat(_PAUSES[-1]))


def _made(answer: Answer) -> str | None:
    if answer.status != 201:
        return None
    # A QR's answer has both ids, and both are the invoice's.
    made: str = answer.body["id"]
    return made


def _read(answer: httpx.Response) -> Answer:
    body: dict[str, Any] = msgspec.json.decode(answer.content) if answer.content else {}
    return Answer(status=answer.status_code, body=body, retry_after=float(answer.headers.get("Retry-After", "0")))
