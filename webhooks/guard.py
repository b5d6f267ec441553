"""Where webhooks may go: the rules, the check of a URL by itself, and the policies that bind the sockets."""

import re
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import httpx
import msgspec
from ssrfguard import Policy, SSRFGuardError, Target

from webhooks.addresses import NO_ADDRESS_REFUSED, REFUSED_ADDRESSES
from webhooks.errors import UrlRefused

MAX_URL_LENGTH = 2048
# On the wire every character may become four percent-encoded bytes.
_MAX_ENCODED_LENGTH = MAX_URL_LENGTH * 12
# Receivers listen where they like; what a port could reach is decided by the address.
_ANY_PORT = frozenset(range(1, 65536))
# urlsplit drops some of these silently and browsers read a backslash as a slash: two readings of one URL.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
# The WHATWG rule: a host whose last label is a number is an IPv4 address, in octal, hex or short form too.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
# Reserved, or handed out by routers, containers and companies for names of their own; none is in the public root.
_LOCAL_SUFFIXES = (
    ".localhost", ".localdomain", ".local", ".internal", ".home.arpa", ".home", ".lan", ".corp", ".intranet",
    ".private", ".svc",
)  # fmt: skip


class EgressRules(msgspec.Struct, frozen=True, kw_only=True):
    """Exceptions from "https to public addresses only, http beside it for sandbox endpoints".

    `allowed_hosts`: "host", "host:port", "[ipv6]" or "[ipv6]:port", exact, for which private addresses and plain
    http are fine (development, tests, a merchant in the same network). `allow_http`: plain http to public
    addresses for live endpoints too. Raises ValueError for an entry that cannot mean a host.
    """

    allowed_hosts: frozenset[str] = frozenset()
    allow_http: bool = False

    def __post_init__(self) -> None:
        for entry in self.allowed_hosts:
            _allowed(entry)

    def allows(self, host: str, port: int) -> bool:
        """Is this host and port one of `allowed_hosts`?"""
        name = _canonical(host)
        return any(_allowed(entry) in {(name, None), (name, port)} for entry in self.allowed_hosts)


class Route(Enum):
    """Which policy a URL's connection is made under."""

    PUBLIC = "public"
    PLAIN = "plain"  # http to public addresses
    ALLOWED = "allowed"


def check_url(url: str, rules: EgressRules, *, is_sandbox: bool = False) -> None:
    """Refuse a URL that could never be delivered to, without any I/O; for registration.

    A sandbox endpoint may use plain http: its events say nothing about real money or real payers.

    A name that passes can still resolve to a refused address later: only the sender can see that. A fragment is
    refused because it is never sent, so a URL that has one is not the URL its owner means.
    Raises UrlRefused with the reason.
    """
    route_of(url, rules, is_sandbox=is_sandbox)


def route_of(url: str, rules: EgressRules, *, is_sandbox: bool = False) -> Route:
    """The policy to call this URL under. Raises UrlRefused as `check_url` does."""
    target = _origin(url)
    if rules.allows(target.host, target.port):
        return Route.ALLOWED
    if target.scheme == "http" and not (rules.allow_http or is_sandbox):
        raise UrlRefused("Use https:// for this webhook; plain http is for sandbox endpoints only.")
    _refuse_inner_host(target)
    return Route.PLAIN if target.scheme == "http" else Route.PUBLIC


def policy_for(route: Route) -> Policy:
    """What the sockets of a route may reach; applied to every resolved address before it is dialled."""
    if route is Route.ALLOWED:
        return _SHAPE_ONLY
    return Policy(
        allowed_schemes=frozenset({"http" if route is Route.PLAIN else "https"}),
        allowed_ports=_ANY_PORT,
        denied_networks=REFUSED_ADDRESSES,
        max_url_length=_MAX_ENCODED_LENGTH,
    )


_SHAPE_ONLY = Policy(allowed_ports=_ANY_PORT, denied_networks=NO_ADDRESS_REFUSED, max_url_length=_MAX_ENCODED_LENGTH)


def _origin(url: str) -> Target:
    """Scheme, host and port of a URL that has one reading only."""
    split = _split(url)
    _refuse_wrong_parts(url, split)
    _refuse_disguised_address(split.hostname or "")
    try:
        target = _SHAPE_ONLY.check_url(url)
        dialled = httpx.URL(url).raw_host.decode("ascii")
    except (SSRFGuardError, httpx.InvalidURL, UnicodeError):
        # Without the cause: its text repeats the URL, which may hold the merchant's token.
        raise UrlRefused("The host is not a well-formed name or address.") from None
    if dialled.lower() != target.host:
        raise UrlRefused("The host can be read in two ways; write it in its ASCII form (xn--…).")
    return target


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_LENGTH:
        raise UrlRefused(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if _AMBIGUOUS.search(url):
        raise UrlRefused("The URL has a space, a backslash or a control character; percent-encode it.")
    try:
        return urlsplit(url)
    except ValueError:
        raise UrlRefused("This is not a URL.") from None


def _refuse_wrong_parts(url: str, split: SplitResult) -> None:
    if split.scheme not in {"http", "https"}:
        raise UrlRefused("The URL must start with https://.")
    if "@" in split.netloc:
        raise UrlRefused("Remove the user name and password from the URL.")
    if "#" in url:
        raise UrlRefused("Remove the part after #; it is never sent.")
    if not split.hostname:
        raise UrlRefused("The URL has no host name.")
    try:
        port = split.port
    except ValueError:
        port = 0
    if port == 0:
        raise UrlRefused("The port must be a number between 1 and 65535.")


def _refuse_disguised_address(host: str) -> None:
    """Resolvers read 0x7f.1, 0177.0.0.1 and 2130706433 as addresses; a form with two readings is refused."""
    try:
        ip_address(host)
    except ValueError:
        if _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise UrlRefused("Write the address as four decimal numbers, or use a name.") from None


def _refuse_inner_host(target: Target) -> None:
    if target.address is not None:
        verdict = REFUSED_ADDRESSES.classify(target.address)
        if verdict.blocked:
            block = verdict.block.name if verdict.block else "refused"
            raise UrlRefused(f"Webhooks go to public addresses only; this one is not ({block}).")
        return
    name = target.host.rstrip(".")
    if "." not in name or f".{name}".endswith(_LOCAL_SUFFIXES):
        raise UrlRefused("Webhooks go to public hosts only; this name is local to a network.")


def _canonical(host: str) -> str:
    """One spelling per host, so that an entry and a URL compare: lower case, no final dot, IPv6 compressed."""
    name = host.lower().rstrip(".")
    try:
        return str(ip_address(name))
    except ValueError:
        return name


@lru_cache(maxsize=256)
def _allowed(entry: str) -> tuple[str, int | None]:
    """An entry of `allowed_hosts` as (host, port or None for any)."""
    bare_ipv6 = entry.count(":") > 1 and not entry.startswith("[")
    split = urlsplit(f"//[{entry}]" if bare_ipv6 else f"//{entry}")
    whole = split.netloc == f"[{entry}]" if bare_ipv6 else split.netloc == entry
    if not whole or not split.hostname or "@" in entry or "*" in entry or _AMBIGUOUS.search(entry):
        raise ValueError("allowed_hosts takes host, host:port, [ipv6] or [ipv6]:port, no URL and no wildcard")
    if split.port == 0:
        raise ValueError("a port in allowed_hosts is between 1 and 65535")
    return _canonical(split.hostname), split.port
