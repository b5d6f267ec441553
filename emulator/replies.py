"""What goes back over the wire, and how a fault spoils it."""

from typing import Any, Final

import msgspec
from uvicorn._types import ASGISendCallable

from emulator import codes
from emulator.faults import FaultName, FaultSpec
from emulator.wire import envelope

_JSON: Final = "application/json; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"
_BLOCK_PAGE: Final = (
    b"<html><head><title>Request Rejected</title></head>"
    b"<body>The requested URL was rejected. Please consult with your administrator.</body></html>"
)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is the bank's StatusCode, None where there is no envelope; `status` None drops the connection."""

    status: int | None = 200
    body: bytes = b""
    kind: str = _JSON
    code: int | None = None


def enveloped(call: str, code: int, data: Any, turn: int) -> Reply:
    """The usual answer: HTTP 200 whatever the code."""
    if call == "health/ping" and code == codes.OK:
        body: dict[str, Any] = {"StatusCode": code, "Message": codes.MESSAGES[code]}
    elif call.startswith("test/"):
        body = {"StatusCode": code, "message": codes.MESSAGES[code]}
    else:
        body = envelope(code, data, turn)
        if (call, code) == ("device/delete", codes.DEVICE_NOT_FOUND):
            del body["Message"]  # as seen on the test contour
    return Reply(body=msgspec.json.encode(body), code=code)


def plain(status: int, text: str) -> Reply:
    return Reply(status=status, kind=_TEXT, body=text.encode())


def block_page() -> Reply:
    """A web firewall's answer: HTTP 200, no JSON."""
    return Reply(kind=_HTML, body=_BLOCK_PAGE)


def spoiled(reply: Reply, fault: FaultSpec, call: str, turn: int) -> Reply:
    """The reply after the fault; what was executed is not touched here."""
    replacements: dict[FaultName, Reply] = {
        "drop_before": Reply(status=None),
        "execute_then_drop": Reply(status=None, code=reply.code),
        "error_5xx_before": plain(fault.code or 500, "Internal Server Error"),
        "error_5xx_after": plain(fault.code or 500, "Internal Server Error"),
        "throttle_429": plain(429, "Too Many Requests"),
        "empty": Reply(),
        "html": block_page(),
        "malformed": msgspec.structs.replace(reply, body=reply.body[: len(reply.body) // 2], code=None),
    }
    if fault.fault == "code":
        return enveloped(call, fault.code or codes.OK, None, turn)
    return replacements.get(fault.fault, reply)


async def send_reply(send: ASGISendCallable, reply: Reply) -> None:
    headers = [
        (b"content-type", reply.kind.encode()),
        (b"content-length", str(len(reply.body)).encode()),
    ]
    await send({"type": "http.response.start", "status": reply.status or 500, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})
