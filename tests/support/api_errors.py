"""The shape every error of the API must have."""

from datetime import datetime
from typing import Any

import httpx

from contracts.v1 import STATUS
from domain.errors import RETRYABLE, Code

FIELDS = {"error", "message", "details", "errors", "retryable", "request_id", "doc", "timestamp"}


def assert_error(answer: httpx.Response, code: Code) -> dict[str, Any]:
    """The body of an answer that must be this error, whole."""
    assert answer.headers["content-type"] == "application/json", answer.text
    body: dict[str, Any] = answer.json()
    assert body.get("error") == code, answer.text
    assert answer.status_code == STATUS[code], answer.text
    assert set(body) == FIELDS
    assert body["retryable"] is (code in RETRYABLE)
    assert body["message"]
    assert isinstance(body["details"], dict)
    assert isinstance(body["errors"], list)
    assert body["request_id"]
    assert answer.headers["x-request-id"]
    assert body["doc"].endswith(code)
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    return body
