"""One request to one merchant, whatever the merchant's server does with it."""

import asyncio
import ssl
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpx
from ssrfguard import Resolver

from webhooks.attempt import Attempt, excerpt_of
from webhooks.errors import FailureCode, UrlRefused
from webhooks.failures import ATTEMPT_FAILURES, Progress, failure_code
from webhooks.guard import EgressRules, Route, policy_for, route_of
from webhooks.proxy import EgressProxy, Way
from webhooks.retry_after import parse_retry_after
from webhooks.transports import TransportSet

__all__ = ["Attempt", "Sender"]

USER_AGENT = "Tolem-Webhooks/1"
RESPONSE_CAP_BYTES = 64 * 1024


class _Answer:
    """What is known of the answer so far; the attempt may end at any point."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: int | None = None
        self.body = bytearray()


class Sender:
    """Makes attempts, many at once. An async context manager; leave it only when no `send` is running.

    `connect_seconds` bounds each dialled address (at most four) and the TLS handshake, `attempt_seconds` the
    whole attempt from the name lookup to the end of the answer's body. At most `max_in_flight` attempts run; the
    wait for a place is not part of an attempt, so a busy sender never looks like a slow merchant. `tls` replaces
    the default trust (certifi's roots); `resolver` replaces `socket.getaddrinfo`, and whatever it returns is
    checked all the same. `proxy` carries every attempt but those to `allowed_hosts`, which are in one's own network;
    `proxy_tls` replaces the trust in an https:// proxy.
    """

    def __init__(
        self,
        rules: EgressRules,
        *,
        connect_seconds: float = 5.0,
        attempt_seconds: float = 30.0,
        max_in_flight: int = 256,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
        proxy: EgressProxy | None = None,
        proxy_tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._connect_seconds = connect_seconds
        self._attempt_seconds = attempt_seconds
        self._places = asyncio.Semaphore(max_in_flight)
        context = tls or httpx.create_ssl_context(trust_env=False)
        way = None if proxy is None else Way(proxy, proxy_tls or httpx.create_ssl_context(trust_env=False))
        self._transports = {
            route: TransportSet(policy_for(route), context, resolver, None if route is Route.ALLOWED else way)
            for route in Route
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transports in self._transports.values():
            await transports.aclose()

    async def send(self, url: str, headers: dict[str, str], body: bytes, *, is_sandbox: bool = False) -> Attempt:
        """POST `body` exactly as given and say what came of it.

        Never raises for anything the URL, its name server or the receiver does; cancellation passes through.
        `headers` are ours (the signature); content-type, user-agent and accept-encoding are set here.
        """
        try:
            route = route_of(url, self._rules, is_sandbox=is_sandbox)
        except UrlRefused:
            return _attempt(_Answer(), FailureCode.URL_REFUSED, 0.0, {})
        request = self._request(url, headers, body)
        async with self._places:
            return await self._try_once(self._transports[route], request)

    def _request(self, url: str, headers: dict[str, str], body: bytes) -> httpx.Request:
        sent = httpx.Headers(headers)
        sent["content-type"] = "application/json"
        sent["user-agent"] = USER_AGENT
        # Compressed answers would be stored unreadable; decompressing them would defeat the cap.
        sent["accept-encoding"] = "identity"
        timeouts = {"connect": self._connect_seconds, "read": None, "write": None, "pool": None}
        return httpx.Request("POST", url, headers=sent, content=body, extensions={"timeout": timeouts})

    async def _try_once(self, transports: TransportSet, request: httpx.Request) -> Attempt:
        answer, progress = _Answer(), Progress()
        request.extensions["trace"] = progress
        error: FailureCode | None = None
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._attempt_seconds), transports.lease() as transport:
                await _exchange(await transport.handle_async_request(request), answer)
        except ATTEMPT_FAILURES as failure:
            error = failure_code(failure, progress.step)
        sent = _shown(request) if progress.sending else {}
        return _attempt(answer, error, time.monotonic() - started, sent)


async def _exchange(response: httpx.Response, answer: _Answer) -> None:
    try:
        answer.status = response.status_code
        delays = response.headers.get_list("retry-after")
        answer.retry_after = parse_retry_after(delays[0], datetime.now(UTC)) if delays else None
        async for chunk in response.aiter_raw():
            answer.body += chunk[: RESPONSE_CAP_BYTES - len(answer.body)]
            if len(answer.body) >= RESPONSE_CAP_BYTES:
                return
    finally:
        await response.aclose()


def _shown(request: httpx.Request) -> dict[str, str]:
    """The headers as they go out, without `host`, which only repeats the URL."""
    raw = ((name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw)
    return {name: value for name, value in raw if name.lower() != "host"}


def _attempt(answer: _Answer, error: FailureCode | None, seconds: float, sent: dict[str, str]) -> Attempt:
    success = answer.status is not None and 200 <= answer.status < 300
    if error is None and not success:
        error = FailureCode.HTTP_STATUS
    return Attempt(
        delivered=error is None,
        status=answer.status,
        error=error,
        latency_ms=round(seconds * 1000),
        response_excerpt=excerpt_of(bytes(answer.body)),
        retry_after=None if error is None else answer.retry_after,
        request_headers=sent,
    )
