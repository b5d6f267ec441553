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

_BY_KIND: tuple[tuple[tuple[type[Exception], ...], FailureCode], ...] = (
    ((SSRFGuardError,), FailureCode.URL_REFUSED),
    ((httpx.ProxyError,), FailureCode.PROXY_FAILED),
    ((TimeoutError, httpx.TimeoutException), FailureCode.TIMEOUT),
)
_DIALLING = "connection.connect_tcp"
_HANDSHAKE = "connection.start_tls"
_SENDING = "http11.send_request_headers"


class Progress:
    """The step an attempt is at, fed by httpx's `trace` extension.

    Needed because httpcore's pool raises "from None", which erases whether a ConnectError came from dialling or
    from the TLS handshake.
    """

    def __init__(self) -> None:
        self.step = ""
        # Whether a byte of the request may have left: what is refused, unresolved or not reached sends none.
        self.sending = False

    async def __call__(self, event: str, info: Mapping[str, object]) -> None:
        step, _, moment = event.rpartition(".")
        if moment == "started":
            self.step = step
            self.sending = self.sending or step == _SENDING


def failure_code(failure: Exception, step: str) -> FailureCode:
    """The word for one of ATTEMPT_FAILURES. The exception's text is not used: it may repeat the URL."""
    for kinds, code in _BY_KIND:
        if isinstance(failure, kinds):
            return code
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
