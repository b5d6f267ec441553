"""What a connection to the bank is made of, and every problem it can have before the first call."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from domain.bank import Scheme


class KaspiConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One organisation's access to the bank (fact sheet §1). Its repr shows no secret.

    `base_url` ends with ``/v01`` and comes from the bank's letter. r1 needs `api_key`; r2 and r3 need a
    certificate with its key, as PEM (key passphrase in `private_key_password`) or as PFX; r3 also needs
    `organization_bin` (12 digits). `trust_pem` holds extra CA certificates, added to the system's. Timeouts in
    seconds: `connect_timeout` each for a free connection, TCP and TLS, then `read_timeout` for the whole of
    request and answer, so a call takes at most 3 × `connect_timeout` + `read_timeout`. `max_connections` (1 to 8)
    counts per client, reads and money calls apart.
    """

    scheme: Scheme
    base_url: str
    organization_bin: str | None = None
    api_key: str | None = None
    certificate_pem: str | None = None
    private_key_pem: str | None = None
    private_key_password: str | None = None
    pfx: bytes | None = None
    pfx_password: str | None = None
    trust_pem: str | None = None
    connect_timeout: float = 5.0
    read_timeout: float = 25.0
    max_connections: int = 8

    def __repr__(self) -> str:
        return f"KaspiConfig(scheme={self.scheme.value!r}, base_url={self.base_url!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own would show every field to a rich traceback.
        return [("scheme", self.scheme.value), ("base_url", self.base_url)]


def config_problems(config: KaspiConfig) -> list[str]:
    """Everything wrong that shows without opening keys and certificates; sentences without secrets."""
    return [
        *_address_problems(config),
        *_identity_problems(config),
        *_limit_problems(config),
    ]


def _address_problems(config: KaspiConfig) -> Iterator[str]:
    try:
        url = urlsplit(config.base_url)
        host, _ = url.hostname, url.port
    except ValueError:
        yield "base_url is not a URL"
        return
    if url.scheme != "https" or not host:
        yield "base_url must start with https://"
    if url.username or url.password or url.query or url.fragment:
        yield "base_url must hold neither credentials nor a query"
    if not url.path.rstrip("/").endswith("/v01"):
        yield "base_url must end with /v01"
    others = {scheme.value for scheme in Scheme} - {config.scheme.value}
    if others & set(url.path.split("/")):
        yield f"base_url belongs to another scheme than {config.scheme.value}"


def _identity_problems(config: KaspiConfig) -> Iterator[str]:
    if config.scheme is Scheme.R1:
        if not config.api_key:
            yield "api_key is missing (r1)"
        elif not all("!" <= ch <= "~" for ch in config.api_key):
            yield "api_key holds characters a header cannot carry"
        return
    pem = config.certificate_pem or config.private_key_pem
    if config.pfx and pem:
        yield "give the certificate as PEM or as pfx, not both"
    elif not config.pfx and not pem:
        yield f"the client certificate is missing ({config.scheme.value})"
    elif pem and not config.certificate_pem:
        yield "certificate_pem is missing"
    elif pem and not config.private_key_pem:
        yield "private_key_pem is missing"
    if config.scheme is Scheme.R3 and not config.organization_bin:
        yield "organization_bin is missing (r3)"
    if config.organization_bin and not _is_bin(config.organization_bin):
        yield "organization_bin must have 12 digits"


def _is_bin(text: str) -> bool:
    return len(text) == 12 and text.isascii() and text.isdigit()


def _limit_problems(config: KaspiConfig) -> Iterator[str]:
    if config.connect_timeout <= 0 or config.read_timeout <= 0:
        yield "timeouts must be above zero"
    if not 1 <= config.max_connections <= 8:
        yield "max_connections must be 1 to 8; use several clients for more"
