"""The error answers of an operation, for its OpenAPI description."""

from typing import Any

from litestar.openapi.datastructures import ResponseSpec

from contracts.apipay_json import ApiPayErrorJson

_WORDS = {
    400: "The body is no JSON, or the object's state does not allow it.",
    401: "The API key is missing, wrong or revoked.",
    404: "No such object.",
    410: "Nobody confirmed the verification within 120 seconds.",
    422: "Wrong or missing fields, all of them in `errors`; or Kaspi refused.",
    429: "The key has made too many requests; `retry_after` in seconds.",
    502: "Kaspi cannot be reached, or its answer was lost.",
    503: "A part of the system is away.",
}


def errors(*statuses: int, made: Any = None) -> dict[int, ResponseSpec]:
    """Specs for the statuses, and for 400, 401, 422, 429 and 503, which every operation has. `made` is what 200 answers
    with, where the handler makes its own answer.
    """
    every = sorted({*statuses, 400, 401, 422, 429, 503})
    specs = {
        status: ResponseSpec(ApiPayErrorJson, description=_WORDS[status], generate_examples=False) for status in every
    }
    if made is not None:
        specs[200] = ResponseSpec(made, description="Made.", generate_examples=False)
    return specs
