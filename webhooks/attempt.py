"""What one attempt to deliver came to."""

import msgspec

from webhooks.errors import FailureCode

EXCERPT_CHARACTERS = 2000


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one request to a merchant.

    `delivered` is true for a 2xx whose body ended (or was cut by us) in time, and for nothing else; then and only
    then `error` is None. `status` may be set beside an error: a 200 whose body dripped past the limit is a
    `timeout`. `latency_ms` runs from dialling to the end of the body. `response_excerpt` has at most 2,000
    characters and no NUL, which Postgres text cannot hold. `retry_after` is seconds, 1 … 86400. `request_headers` are
    those that went out, `host` left out; empty where nothing did (refused, not resolved, not reached).
    """

    delivered: bool
    status: int | None
    error: FailureCode | None
    latency_ms: int
    response_excerpt: str
    retry_after: int | None
    request_headers: dict[str, str] = {}

    def __repr__(self) -> str:
        """Without the excerpt: a merchant's answer may hold personal data and reprs end up in logs."""
        return f"Attempt(delivered={self.delivered}, status={self.status}, error={self.error!s})"


def excerpt_of(body: bytes) -> str:
    """The stored part of an answer, decoded as UTF-8 with replacement."""
    return body.decode("utf-8", "replace").replace("\x00", "")[:EXCERPT_CHARACTERS]
