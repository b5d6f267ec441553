"""One request to the bank, tried once: sockets, time limits, the log line, and the verdict."""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

import httpx
import msgspec
import structlog

from kaspi.codes import MONEY_CALLS
from kaspi.config import KaspiConfig
from kaspi.errors import KaspiError
from kaspi.judge import judge_answer, judge_exception, unclear
from kaspi.wire import Unreadable

MAX_ANSWER = 256 * 1024
_KEEPALIVE = 20.0  # seconds; longer than the 5 s between status checks, shorter than usual server limits

T = TypeVar("T")
Reader = Callable[[msgspec.Raw], T]

_log = structlog.get_logger("kaspi")


class _TooLarge(Exception):
    pass


class _Progress:
    """httpcore's trace hook: `sent` turns true, and the clock of the answer starts, when the first byte of the
    request may leave us. Before that httpx's own limits rule: cutting a handshake off by cancelling it would
    make httpcore leave the socket open.
    """

    def __init__(self, answer_within: float) -> None:
        self.sent = False
        self.deadline = asyncio.timeout(None)
        self._answer_within = answer_within

    async def __call__(self, event: str, _info: object) -> None:
        # Everything up to here is TCP and TLS. An event of another name counts as sent: the careful way to err.
        if not self.sent and not event.startswith("connection."):
            self.sent = True
            self.deadline.reschedule(asyncio.get_running_loop().time() + self._answer_within)


class Transport:
    """Two pools over one TLS context. No redirects, no proxies or credentials from the environment, no retries.

    Money calls open a connection each: a kept connection which the bank closes while we write is the one way a
    healthy system loses an answer, and there it costs a human's time; a handshake costs milliseconds.
    httpx's transports are used without its client, because the client logs whole URLs, and one holds a phone.
    """

    def __init__(self, config: KaspiConfig, tls: ssl.SSLContext) -> None:
        self._root = config.base_url.rstrip("/").removesuffix("v01")
        self._answer_within = config.read_timeout
        self._timeouts = httpx.Timeout(
            connect=config.connect_timeout,
            read=config.read_timeout,
            write=config.read_timeout,
            pool=config.connect_timeout,
        ).as_dict()
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "Tolem",
        }
        if config.api_key and config.scheme == "r1":
            self._headers["Api-Key"] = config.api_key
        self._pool = _pool(tls, config.max_connections, kept=config.max_connections)
        self._money_pool = _pool(tls, config.max_connections, kept=0)

    async def aclose(self) -> None:
        """Closes every connection; calls still running on them end as lost."""
        await self._pool.aclose()
        await self._money_pool.aclose()

    async def get(
        self,
        call: str,
        path: str,
        read: Reader[T],
        params: dict[str, str] | None = None,
        *,
        version: str = "v01",
    ) -> T:
        """What `read` makes of the answer's Data; raises `KaspiError` (§4). `path` follows the version."""
        return await self._send(call, self._request("GET", f"{version}/{path}", b"", params), read)

    async def post(self, call: str, body: bytes, read: Reader[T]) -> T:
        """As `get`; the path of a POST is the call's name."""
        return await self._send(call, self._request("POST", f"v01/{call}", body, None), read)

    def _request(self, method: str, path: str, body: bytes, params: dict[str, str] | None) -> httpx.Request:
        return httpx.Request(
            method,
            self._root + path,
            params=params,
            headers={**self._headers, "X-Request-ID": uuid4().hex},
            content=body,
            extensions={"timeout": self._timeouts, "trace": _Progress(self._answer_within)},
        )

    async def _send(self, call: str, request: httpx.Request, read: Reader[T]) -> T:
        request_id = request.headers["X-Request-ID"]
        started = time.perf_counter()
        outcome = await self._outcome(call, request, read)
        _record(call, request_id, time.perf_counter() - started, outcome)
        if isinstance(outcome, KaspiError):
            outcome.request_id = request_id
            raise outcome
        return outcome

    async def _outcome(self, call: str, request: httpx.Request, read: Reader[T]) -> T | KaspiError:
        """Returned, not raised: an error raised inside an except block drags along texts with URLs in them."""
        progress: _Progress = request.extensions["trace"]
        try:
            async with progress.deadline:
                status, content_type, body = await self._exchange(call, request)
            return read(judge_answer(call, status, content_type, body))
        except KaspiError as error:
            return error
        except Unreadable:
            return unclear(call, "unreadable_answer", code=0)
        except _TooLarge:
            return unclear(call, "answer_too_large")
        except (httpx.HTTPError, TimeoutError, OSError) as exc:
            return judge_exception(call, exc, sent=progress.sent)
        except Exception as exc:
            if not progress.sent:
                raise  # a bug of ours that no bank has seen
            return judge_exception(call, exc, sent=True)

    async def _exchange(self, call: str, request: httpx.Request) -> tuple[int, str, bytes]:
        pool = self._money_pool if call in MONEY_CALLS else self._pool
        response = await pool.handle_async_request(request)
        try:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_ANSWER:
                    raise _TooLarge
        finally:
            await response.aclose()
        return response.status_code, response.headers.get("Content-Type", ""), bytes(body)


def _pool(tls: ssl.SSLContext, connections: int, *, kept: int) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=kept, keepalive_expiry=_KEEPALIVE)
    return httpx.AsyncHTTPTransport(verify=tls, trust_env=False, http2=False, retries=0, limits=limits)


def _record(call: str, request_id: str, seconds: float, outcome: object) -> None:
    facts = {"call": str(call), "request_id": request_id, "duration_ms": round(seconds * 1000, 1)}
    if isinstance(outcome, KaspiError):
        _log.warning(
            "kaspi_call_failed",
            error=type(outcome).__name__,
            reason=outcome.reason,
            code=outcome.code,
            **facts,
        )
    elif call in MONEY_CALLS:
        _log.info("kaspi_call", code=0, **facts)
    else:
        _log.debug("kaspi_call", code=0, **facts)
