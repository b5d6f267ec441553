"""A growing set of small HTTP transports, because one large one collapses under many requests."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore
import httpx
from ssrfguard import Policy, Resolver
from ssrfguard.httpx import AsyncSafeTransport

from webhooks.proxy import ProxyBackend, Way

# httpx spends 0.36 ms of CPU a request with one in flight on a client and 4.2 ms with 64.
CONNECTIONS_EACH = 8
KEEPALIVE_SECONDS = 5.0


class TransportSet:
    """Transports under one policy, each with at most 8 requests in flight; another is added when all are full.

    Transports and not `httpx.AsyncClient`s: a client would add cookies (carried from one merchant to the next on
    a shared host), environment proxies, redirects, netrc, and an INFO log line with the whole URL.
    """

    def __init__(self, policy: Policy, tls: ssl.SSLContext, resolver: Resolver | None, way: Way | None = None) -> None:
        self._policy = policy
        self._tls = tls
        self._resolver = resolver
        self._way = way
        self._transports: list[AsyncSafeTransport] = []
        self._in_flight: list[int] = []

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[AsyncSafeTransport]:
        """A transport with a free connection. The first with room, so that kept-alive connections are found again."""
        index = next((i for i, busy in enumerate(self._in_flight) if busy < CONNECTIONS_EACH), None)
        if index is None:
            index = len(self._transports)
            self._transports.append(self._new())
            self._in_flight.append(0)
        self._in_flight[index] += 1
        try:
            yield self._transports[index]
        finally:
            self._in_flight[index] -= 1

    async def aclose(self) -> None:
        """Close every connection; only after the last request has ended."""
        for transport in self._transports:
            await transport.aclose()

    def _new(self) -> AsyncSafeTransport:
        transport = AsyncSafeTransport(
            policy=self._policy,
            resolver=self._resolver,
            verify=self._tls,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=CONNECTIONS_EACH,
                max_keepalive_connections=CONNECTIONS_EACH,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
        )
        if self._way is not None:
            transport._pool = self._tunnels(self._way)  # noqa: SLF001 -- the seam that ssrfguard itself uses
        return transport

    def _tunnels(self, way: Way) -> httpcore.AsyncConnectionPool:
        """The transport's pool on other sockets. Its check of the whole URL stays before it."""
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=CONNECTIONS_EACH,
            max_keepalive_connections=CONNECTIONS_EACH,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=ProxyBackend(way, self._policy, self._resolver, CONNECTIONS_EACH),
        )
