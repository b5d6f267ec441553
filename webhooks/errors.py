"""What can go wrong between us and a merchant's server, in words that stay the same between versions."""

from enum import StrEnum


class FailureCode(StrEnum):
    """Why an attempt did not deliver; shown to merchants and stored, so the words never change."""

    URL_REFUSED = "url_refused"  # the URL, or an address its name resolves to, is not one we call
    DNS_FAILED = "dns_failed"
    CONNECT_FAILED = "connect_failed"
    PROXY_FAILED = "proxy_failed"  # our own egress proxy: away, refuses us, or does not speak HTTP
    TLS_FAILED = "tls_failed"
    TIMEOUT = "timeout"  # connecting, or the whole attempt including the body
    CONNECTION_RESET = "connection_reset"  # the connection broke before the answer was complete
    PROTOCOL_ERROR = "protocol_error"  # the answer is not HTTP, or ended too early
    SIGNING_FAILED = "signing_failed"  # ours: the endpoint's secrets could not be opened; nothing was sent
    HTTP_STATUS = "http_status"  # a whole answer that is not 2xx


class UrlRefused(Exception):
    """A webhook URL we will not call. `reason` is a sentence for the merchant and never repeats the URL."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class SignatureMismatch(Exception):
    """A webhook request that is not proven to be ours, unchanged and recent. The text holds no header or body."""


class LaneBusy(Exception):
    """No place for an attempt to this endpoint now; `wait` is the seconds after which one is likely to be free."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        super().__init__(f"busy for {wait:.1f} s")
