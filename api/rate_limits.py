"""What a key may still ask for, on every answer to it: `X-RateLimit-Remaining` as ApiPay publishes it, `RateLimit` and
`RateLimit-Policy` as the IETF has them (draft-ietf-httpapi-ratelimit-headers-10), `Retry-After` on a 429.
"""

import math

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

from domain.errors import Code, TolemError
from domain.rate_limit import Allowance

# One policy: the quota of a key, partitioned by nothing else.
_POLICY = '"key"'
_STATE = "allowance"


def admit(scope: Scope, allowance: Allowance | None) -> None:
    """Keeps it for the answer's headers; `TolemError` (rate_limited) where the request is one too many."""
    if allowance is None:
        return
    scope.setdefault("state", {})[_STATE] = allowance
    if allowance.retry_after is not None:
        details = {"retry_after": str(allowance.wait), "per_minute": str(allowance.limit.per_minute)}
        raise TolemError(Code.RATE_LIMITED, details=details)


async def add_headers(message: Message, scope: Scope) -> None:
    """Called by the framework before anything is sent."""
    allowance: Allowance | None = scope.get("state", {}).get(_STATE)
    if allowance is None or message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    headers["X-RateLimit-Remaining"] = str(allowance.remaining)
    headers["RateLimit-Policy"] = f"{_POLICY};q={allowance.limit.burst};w={allowance.window}"
    headers["RateLimit"] = f"{_POLICY};r={allowance.remaining};t={allowance.wait or math.ceil(allowance.full_after)}"
    if allowance.retry_after is not None:
        headers["Retry-After"] = str(allowance.wait)
