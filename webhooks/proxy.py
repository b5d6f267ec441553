"""The way out through an egress proxy: CONNECT to the address that was checked, never to a name."""

import base64
import functools
import re
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote, urlsplit

import anyio
import httpcore
import msgspec
from ssrfguard import Address, Policy, Resolver, Target, resolve

# A proxy's own words for "I could not reach it" (RFC 9110 §15.6.3 to §15.6.5); anything else it refuses is our matter.
_RECEIVER_NOT_REACHED = {502, 503, 504}
_PLAIN = re.compile(r"[!-~]+")  # ASCII without spaces and control characters


class EgressProxy(msgspec.Struct, frozen=True, kw_only=True):
    """A CONNECT proxy by its address; `credentials` are "user:password"."""

    host: str
    port: int
    tls: bool
    credentials: str | None = None

    @classmethod
    def parse(cls, url: str) -> "EgressProxy":
        """From http://user:password@host:port or https://…; ValueError, which never repeats the URL, for all else."""
        hint = "write http://host:port or https://user:password@host:port, without a path"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(hint) from None
        shaped = parts.scheme in {"http", "https"} and parts.hostname and port
        if not shaped or parts.path not in {"", "/"} or parts.query or parts.fragment or not _PLAIN.fullmatch(url):
            raise ValueError(hint)
        credentials = None
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(host=parts.hostname or "", port=port or 0, tls=parts.scheme == "https", credentials=credentials)

    def __repr__(self) -> str:
        """Without the credentials."""
        return f"EgressProxy({self.host}:{self.port})"


class Way(msgspec.Struct, frozen=True):
    """A proxy and the trust in it, which is not the trust in receivers."""

    proxy: EgressProxy
    tls: ssl.SSLContext


class ProxyBackend(httpcore.AsyncNetworkBackend):
    """Opens "TCP connections" that are tunnels, for a connection pool that knows nothing of them.

    The name is resolved here and every address checked against `policy`, as without a proxy; the proxy is told an
    address, so it looks nothing up. What comes back is the tunnel, and httpcore starts TLS in it with the receiver's
    name: SNI, certificate and Host are the name's. A plain http receiver is called through a tunnel too, because the
    other form (the whole URL to the proxy) would make the proxy resolve the name, or lose it.
    """

    def __init__(self, way: Way, policy: Policy, resolver: Resolver | None, lookups: int) -> None:
        self._way = way
        self._policy = policy
        self._resolver = resolver
        self._lookups = anyio.CapacityLimiter(lookups)
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A tunnel to the first address of `host` that can be reached; `timeout` bounds each of at most four.

        Raises what httpcore's own backends raise, `httpcore.ProxyError` for the proxy's own failures, and
        `BlockedAddressError` before anything is sent to the proxy.
        """
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in (await self._checked(host, port))[: self._policy.max_connection_attempts]:
            try:
                return await self._tunnel(address, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError("no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refused: a path has no address to check."""
        raise httpcore.UnsupportedProtocol("unix sockets are not called")

    async def sleep(self, seconds: float) -> None:
        """The wait between retries, of which httpcore makes none for us."""
        await anyio.sleep(seconds)

    async def _checked(self, host: str, port: int) -> tuple[Address, ...]:
        self._policy.check_host(host)
        target = Target(scheme="tcp", host=host, port=port, host_as_written=host, address=_literal(host))
        lookup = functools.partial(resolve, target, policy=self._policy, resolver=self._resolver)
        try:
            return await anyio.to_thread.run_sync(lookup, limiter=self._lookups)
        except socket.gaierror as unresolvable:
            raise httpcore.ConnectError("the name does not resolve") from unresolvable

    async def _tunnel(self, address: Address, timeout: float | None) -> httpcore.AsyncNetworkStream:  # noqa: ASYNC109
        stream = await self._reach(timeout)
        try:
            return await self._ask(stream, address, timeout)
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(OSError, anyio.BrokenResourceError):
                await stream.aclose()
            raise

    async def _reach(self, timeout: float | None) -> httpcore.AsyncNetworkStream:  # noqa: ASYNC109
        proxy = self._way.proxy
        try:
            stream = await self._sockets.connect_tcp(proxy.host, proxy.port, timeout=timeout)
            if proxy.tls:
                # A stream whose handshake fails closes itself.
                stream = await stream.start_tls(self._way.tls, proxy.host, timeout)
        except (httpcore.NetworkError, httpcore.TimeoutException, OSError, UnicodeError) as error:
            raise httpcore.ProxyError("the egress proxy cannot be reached") from error
        return stream

    async def _ask(
        self,
        stream: httpcore.AsyncNetworkStream,
        address: Address,
        timeout: float | None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        proxy = self._way.proxy
        origin = httpcore.Origin(b"http", proxy.host.encode("ascii"), proxy.port)
        # httpcore's own HTTP/1.1, so that no parser of ours reads what a proxy answers.
        connection = httpcore.AsyncHTTP11Connection(origin=origin, stream=stream)
        try:
            with anyio.fail_after(timeout):
                answer = await connection.handle_async_request(self._connect_request(address))
        except TimeoutError as error:
            # The proxy is there and dials: what does not answer is the receiver.
            raise httpcore.ConnectTimeout("the egress proxy did not connect in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise httpcore.ProxyError("the egress proxy did not answer the CONNECT") from error
        if answer.status in _RECEIVER_NOT_REACHED:
            raise httpcore.ConnectError("the egress proxy could not reach the receiver")
        if not 200 <= answer.status < 300:
            raise httpcore.ProxyError(f"the egress proxy answered the CONNECT with {answer.status}")
        tunnel: httpcore.AsyncNetworkStream = answer.extensions["network_stream"]
        return tunnel

    def _connect_request(self, address: Address) -> httpcore.Request:
        proxy = self._way.proxy
        host = f"[{address.ip}]" if isinstance(address.ip, IPv6Address) else str(address.ip)
        target = f"{host}:{address.port}".encode("ascii")
        headers = [(b"Host", target)]
        if proxy.credentials is not None:
            basic = base64.b64encode(proxy.credentials.encode())
            headers.append((b"Proxy-Authorization", b"Basic " + basic))
        url = httpcore.URL(scheme=b"http", host=proxy.host.encode("ascii"), port=proxy.port, target=target)
        return httpcore.Request(b"CONNECT", url, headers=headers)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
