"""From what came back, or did not, to a result or an error (fact sheet §4, "Transport").

One rule rules the rest: of a money call only the bank's own typed refusal is a refusal. Everything else after
the request may have left us is `KaspiOutcomeUnknown` there, and `KaspiUnavailable` on a harmless call.
"""

import ssl

import httpx
import msgspec

from kaspi.codes import MONEY_CALLS, failure, is_success
from kaspi.errors import (
    KaspiError,
    KaspiMisconfigured,
    KaspiOutcomeUnknown,
    KaspiThrottled,
    KaspiUnavailable,
)
from kaspi.wire import read_envelope

# Alerts about our certificate. In TLS 1.3 they arrive after our side has finished its handshake and sent the
# request; the bank's side has not, so no request was read. True on a fresh connection, which money calls have.
_CERTIFICATE_ALERTS = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_UNKNOWN_CA",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "TLSV1_ALERT_ACCESS_DENIED",
    }
)
_PASSING_TROUBLE = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def unclear(call: str, reason: str, *, code: int | None = None, bank_message: str | None = None) -> KaspiError:
    """The error of an answer that says nothing about what was done."""
    error = KaspiOutcomeUnknown if call in MONEY_CALLS else KaspiUnavailable
    return error(call, reason, code=code, bank_message=bank_message)


def judge_answer(call: str, http_status: int, content_type: str, body: bytes) -> msgspec.Raw:
    """The envelope's Data where the bank says success; raises the fitting `KaspiError` otherwise."""
    envelope = read_envelope(body)
    code = envelope.status_code if envelope else None
    text = envelope.message if envelope and isinstance(envelope.message, str) else None
    html = envelope is None and _is_html(content_type, body)
    by_http = _judge_http(call, http_status, html=html)
    if by_http is not None:
        error, reason = by_http
        raise error(call, reason, code=code, bank_message=text)
    if envelope is None or code is None:
        odd = "unreadable_answer" if body.strip() else "empty_answer"
        raise unclear(call, odd if http_status == 200 else f"http_{http_status}")
    if not is_success(call, code):
        raise failure(call, code, text)
    if not 200 <= http_status < 300:
        raise unclear(call, f"http_{http_status}", code=code, bank_message=text)  # says yes and no at once
    return envelope.data


def _judge_http(call: str, status: int, *, html: bool) -> tuple[type[KaspiError], str] | None:
    """What the HTTP status decides by itself, before any envelope; None where the envelope decides."""
    money = call in MONEY_CALLS
    ambiguous = KaspiOutcomeUnknown if money else KaspiUnavailable
    if status >= 500:
        return ambiguous, f"http_{status}"
    if status == 429:
        return (KaspiOutcomeUnknown if money else KaspiThrottled), "http_429"
    if status == 401:
        return KaspiMisconfigured, "http_401"
    if html and status != 404:
        # A firewall's block page comes with any status, 403 above all. 404 is a missing path, not a block.
        return (KaspiOutcomeUnknown if money else KaspiThrottled), "html_page"
    if status == 403:
        return KaspiMisconfigured, "http_403"
    return None


def _is_html(content_type: str, body: bytes) -> bool:
    return "html" in content_type.lower() or body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def judge_exception(call: str, exc: Exception, *, sent: bool) -> KaspiError:
    """The error of a call that ended without an answer. `sent`: a byte of the request may have left us."""
    slow = isinstance(exc, httpx.TimeoutException | TimeoutError)
    fault = _tls_fault(exc, sent=sent)
    if fault is not None:
        return KaspiMisconfigured(call, fault)
    if sent:
        return unclear(call, "timeout" if slow else "connection_lost")
    if isinstance(exc, httpx.PoolTimeout):
        return KaspiUnavailable(call, "all_connections_busy")
    return KaspiUnavailable(call, "connect_timeout" if slow else "connect_failed")


def _tls_fault(exc: Exception, *, sent: bool) -> str | None:
    tls = _tls_error(exc)
    if tls is None:
        return None
    if tls.reason in _CERTIFICATE_ALERTS:
        return "client_certificate_rejected"
    if sent or isinstance(tls, _PASSING_TROUBLE) or tls.reason == "TLSV1_ALERT_INTERNAL_ERROR":
        return None
    if isinstance(tls, ssl.SSLCertVerificationError):
        return "bank_certificate_untrusted"
    return "tls_handshake_rejected"


def _tls_error(exc: Exception) -> ssl.SSLError | None:
    # httpcore raises "from None" on its way up, which hides the TLS error from __cause__ but not __context__.
    # "Wants to read" is TLS waiting for bytes: not an error, but part of the context of whatever comes next.
    link: BaseException | None = exc
    for _ in range(10):
        if isinstance(link, ssl.SSLError) and not isinstance(link, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            return link
        if link is None:
            break
        link = link.__cause__ or link.__context__
    return None
