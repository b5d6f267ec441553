"""From what the HTTP stack raised, and the step it was at, to one stable word."""

import socket
import ssl
from collections.abc import Iterator, Mapping

import httpx
from ssrfguard import SSRFGuardError

from webhooks.errors import FailureCode

# Everything a receiver, its name server or its URL can make the stack raise. OSError: a broken TLS record after
# the handshake leaves anyio as a bare ssl.SSLError. UnicodeError: a label no resolver can encode.
ATTEMPT_FAILURES = (httpx.TransportError, SSRFGuardError, OSError, UnicodeError)

_DIALLING = "connection.connect_tcp"
_HANDSHAKE = "connection.start_tls"


class Progress:
    """The step an attempt is at, fed by httpx's `trace` extension.

    Needed because httpcore's pool raises "from None", which erases whether a ConnectError came from dialling or
    from the TLS handshake.
    """

    def __init__(self) -> None:
        self.step = ""

    async def __call__(self, event: str, info: Mapping[str, object]) -> None:
        step, _, moment = event.rpartition(".")
        if moment == "started":
            self.step = step


def failure_code(failure: Exception, step: str) -> FailureCode:
    """The word for one of ATTEMPT_FAILURES. The exception's text is not used: it may repeat the URL."""
    if isinstance(failure, SSRFGuardError):
        return FailureCode.URL_REFUSED
    if isinstance(failure, TimeoutError | httpx.TimeoutException):
        return FailureCode.TIMEOUT
    chain = tuple(_origins(failure))
    if step == _DIALLING:
        unresolved = any(isinstance(link, socket.gaierror | UnicodeError) for link in chain)
        return FailureCode.DNS_FAILED if unresolved else FailureCode.CONNECT_FAILED
    if step == _HANDSHAKE or isinstance(failure, ssl.SSLError):
        return FailureCode.TLS_FAILED
    # A hang-up before the end of the headers is httpcore's own error (2 links); what h11 objects to has its as a third.
    if isinstance(failure, httpx.ProtocolError) and len(chain) > 2:
        return FailureCode.PROTOCOL_ERROR
    return FailureCode.CONNECTION_RESET


def _origins(failure: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = failure
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
