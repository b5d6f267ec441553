"""The error answers of an operation, for its OpenAPI description."""

from typing import Any

from litestar.openapi.datastructures import ResponseSpec

from contracts.v1_json import ErrorJson

_WORDS = {
    400: "Wrong or missing fields; all of them in `errors`.",
    401: "The API key is missing, wrong or revoked.",
    403: "A test key cannot touch live objects.",
    404: "No such object.",
    409: "Not possible in this state, or Kaspi is not connected.",
    422: "The Idempotency-Key was used with another body.",
    429: "The key has made too many requests; see `Retry-After`.",
    502: "Kaspi refused, cannot be reached, or its answer was lost; `error` says which.",
    503: "A part of the system is away; `error` says whether anything may have happened.",
}


def errors(*statuses: int, created: Any = None) -> dict[int, ResponseSpec]:
    """Specs for the statuses; `created` describes a 201 whose handler answers with stored bytes."""
    limited = (429,) if 401 in statuses else ()  # what asks for a key counts its requests
    specs = {
        status: ResponseSpec(ErrorJson, description=_WORDS[status], generate_examples=False)
        for status in (*statuses, *limited)
    }
    if created is not None:
        specs[201] = ResponseSpec(created, description="Created.", generate_examples=False)
    return specs
