"""The bank's HTTP side: routes a call, lets faults strike, executes and logs it in one transaction.

A plain ASGI app: a drop has to reach down to the socket, and the odd answers fit no framework.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from emulator import callers, calls, codes, faults, replies
from emulator.bank_routes import Route, find
from emulator.faults import FaultSpec
from emulator.protocol import SCOPE_KEY, Connection
from emulator.replies import Reply
from emulator.wire import BankRequest, read_body
from emulator.world import World

_LARGEST_BODY: Final = 1 << 20


class Bank:
    """The ASGI application behind the HTTPS listener."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._turn = 0

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        arrived = self._world.now()
        route = find(scope["method"], scope["path"])
        body = await _body(receive)
        if isinstance(route, int):
            await replies.send_reply(send, replies.plain(route, "Not Found"))
            return
        delay_ms, fault = faults.strike(self._world, route.call)
        struck = fault.fault if fault else ("delay" if delay_ms else None)
        delay_ms += self._world.settings.latency_ms
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        connection = cast("Connection", (scope["extensions"] or {})[SCOPE_KEY]["connection"])
        reply = self._answer(_Incoming(route, scope, body, connection.partner_cn, arrived), fault, struck)
        if reply.status is None:
            connection.reset()
            await _gone(receive)
        else:
            await replies.send_reply(send, reply)

    def _answer(self, incoming: "_Incoming", fault: FaultSpec | None, struck: str | None) -> Reply:
        """Executes the call, unless the fault forbids it, and logs it: both are on disk or neither is.

        `struck` is the fault's name for the log.
        """
        self._turn += 1
        route = incoming.route
        with self._world.store.transaction():
            reply, subject = Reply(), incoming.subject()
            if fault is None or fault.executes():
                reply, made = self._execute(incoming, fault)
                subject = made or subject
            executed = reply.code == codes.OK
            if fault is not None:
                reply = replies.spoiled(reply, fault, route.call, self._turn)
            calls.record(
                self._world.store,
                at=incoming.arrived,
                scheme=route.scheme,
                version=route.version,
                call=route.call,
                method=incoming.method,
                x_request_id=incoming.x_request_id,
                purchase_id=subject,
                executed=executed,
                status_code=reply.code,
                http_status=reply.status,
                fault=struck,
            )
        return reply

    def _execute(self, incoming: "_Incoming", fault: FaultSpec | None) -> tuple[Reply, int | None]:
        """The honest reply and the id of the purchase it made or is about."""
        route = incoming.route
        try:
            request = incoming.read(self._world)
            data = route.handler(self._world, request)
        except codes.UnknownKeyError:
            return replies.plain(401, "Unauthorized"), None
        except codes.BadRequestError as error:
            return replies.plain(400, f"Bad Request: {error}"), None
        except codes.OverloadError as error:
            blocked = replies.plain(429, "Too Many Requests") if error.answer == "429" else replies.block_page()
            return blocked, None
        except codes.RefusalError as error:
            return replies.enveloped(route.call, error.code, None, self._turn), None
        made = None
        if isinstance(data, dict):
            made = data.get("QrPaymentId") or data.get("PaymentId")
            if fault is not None and fault.fault == "status_word" and "Status" in data:
                data["Status"] = fault.word
        return replies.enveloped(route.call, codes.OK, data, self._turn), made


class _Incoming:
    """One request as it came in."""

    def __init__(self, route: Route, scope: HTTPScope, body: bytes, partner_cn: str | None, arrived: int) -> None:
        self.route = route
        self.arrived = arrived
        self.method = scope["method"]
        self._headers = dict(scope["headers"])
        self._query = scope["query_string"]
        self._body = body
        self._partner_cn = partner_cn
        self.x_request_id = self._header(b"x-request-id")
        self._fields: Mapping[str, Any] | None = None

    def read(self, world: World) -> BankRequest:
        """Raises UnknownKeyError, RefusalError -10000 or BadRequestError."""
        caller = callers.identify(world, self.route.scheme, self._header(b"api-key"), self._partner_cn)
        return BankRequest(
            caller=caller,
            call=self.route.call,
            version=self.route.version,
            path_id=self.route.path_id,
            fields=self.fields(),
            x_request_id=self.x_request_id,
        )

    def fields(self) -> Mapping[str, Any]:
        """Body or query by lower-case name. Raises BadRequestError."""
        if self._fields is None:
            if self.method == "POST":
                self._fields = read_body(self._body)
            else:
                query = parse_qsl(self._query.decode("latin-1"), keep_blank_values=True)
                self._fields = {name.lower(): value for name, value in query}
        return self._fields

    def subject(self) -> int | None:
        """The purchase the request names, if it names one legibly: for the log only."""
        try:
            named = self.fields().get("qrpaymentid") or self.route.path_id
            number = int(str(named))
        except (codes.BadRequestError, ValueError):
            return None
        return number if 0 < number < 2**63 and self.route.call != "partner/tradepoints" else None

    def _header(self, name: bytes) -> str | None:
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")


async def _body(receive: ASGIReceiveCallable) -> bytes:
    chunks = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return bytes(chunks)
        # More than this is no bank request; what is cut off does not parse and gets its 400.
        if len(chunks) < _LARGEST_BODY:
            chunks += event["body"]
        if not event["more_body"]:
            return bytes(chunks)


async def _gone(receive: ASGIReceiveCallable) -> None:
    """Waits until uvicorn knows that the connection is gone; else it would answer 500 for us."""
    while (await receive())["type"] != "http.disconnect":
        pass
