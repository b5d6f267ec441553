import asyncio
import gzip
import inspect
import logging
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.webhooks.receivers import Receiver, Script, answers, answers_once, hangs, reset, resets, status
from tests.webhooks.tls_material import certificate, server_side
from webhooks.attempt import Attempt
from webhooks.errors import FailureCode
from webhooks.guard import EgressRules
from webhooks.sender import RESPONSE_CAP_BYTES, Sender
from webhooks.signing import new_secret, sign, verify

BODY = '{"сумма":"10000.00","чек":"🧾"}'.encode()
LOOPBACK = EgressRules(allowed_hosts=frozenset({"127.0.0.1"}))


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(LOOPBACK, connect_seconds=30, attempt_seconds=30) as made:
        yield made


@pytest.fixture
async def hasty() -> AsyncIterator[Sender]:
    async with Sender(LOOPBACK, connect_seconds=5, attempt_seconds=1.5) as made:
        yield made


async def deliver(sender: Sender, script: Script) -> Attempt:
    async with Receiver(script) as receiver:
        return await sender.send(receiver.url, {}, BODY)


async def test_the_bytes_received_are_the_bytes_signed(sender: Sender) -> None:
    secret = new_secret()
    now = datetime.now(UTC)
    async with Receiver(answers(status(200, b"ok"))) as receiver:
        result = await sender.send(receiver.url + "?a=%D1%8F", sign([secret], "evt_1", now, BODY), BODY)
    assert result.delivered
    [(head, body)] = receiver.requests
    assert body == BODY
    line, *rest = head.decode().split("\r\n")
    assert line == "POST /hook?a=%D1%8F HTTP/1.1"
    headers = dict(one.split(": ", 1) for one in rest if one)
    verify(secret, headers, body, now, timedelta(minutes=5))
    lower = {name.lower(): value for name, value in headers.items()}
    assert lower["content-type"] == "application/json"
    assert lower["user-agent"] == "Tolem-Webhooks/1"
    assert lower["accept-encoding"] == "identity"
    assert lower["host"] == receiver.place
    assert not {"cookie", "authorization"} & set(lower)


async def test_an_attempt_keeps_the_headers_that_went_out(sender: Sender) -> None:
    signed = sign([new_secret()], "evt_1", datetime.now(UTC), BODY)
    async with Receiver(answers(status(500))) as receiver:
        result = await sender.send(receiver.url, signed, BODY)
    [(head, _)] = receiver.requests
    sent = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    assert sent.pop("Host") == receiver.place
    assert result.request_headers == sent
    assert signed.items() <= result.request_headers.items()


async def test_an_attempt_that_sent_nothing_keeps_no_headers(sender: Sender, tmp_path: Path) -> None:
    signed = sign([new_secret()], "evt_1", datetime.now(UTC), BODY)
    async with Receiver(hangs) as receiver:
        gone = receiver.url
    async with Receiver(answers(status(200)), tls=server_side(certificate(tmp_path, address="127.0.0.9"))) as impostor:
        urls = [gone, f"https://127.0.0.1:{impostor.port}/", "https://10.0.0.1/"]
        results = [await sender.send(url, signed, BODY) for url in urls]
    assert [one.error for one in results] == [
        FailureCode.CONNECT_FAILED, FailureCode.TLS_FAILED, FailureCode.URL_REFUSED,
    ]  # fmt: skip
    assert [one.request_headers for one in results] == [{}, {}, {}]


async def test_an_attempt_without_an_answer_keeps_what_it_sent(hasty: Sender) -> None:
    result = await deliver(hasty, hangs)
    assert result.error is FailureCode.TIMEOUT
    assert result.request_headers["content-type"] == "application/json"


def test_the_published_limits_are_the_defaults() -> None:
    limits = {name: one.default for name, one in inspect.signature(Sender).parameters.items()}
    assert (limits["connect_seconds"], limits["attempt_seconds"], RESPONSE_CAP_BYTES) == (5.0, 30.0, 65536)


async def test_a_handshake_that_never_ends_is_cut_by_the_connect_limit() -> None:
    async def says_nothing(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    # Were it not for the limit on connecting, this would run into the test's own.
    async with Sender(LOOPBACK, connect_seconds=0.2, attempt_seconds=3600) as sender, Receiver(says_nothing) as mute:
        result = await sender.send(f"https://{mute.place}/", {}, BODY)
    assert (result.error, mute.connections) == (FailureCode.TIMEOUT, 1)


async def test_a_dial_that_nobody_answers_is_cut_by_the_connect_limit() -> None:
    """A full backlog: Linux drops the SYN, as a firewall does."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    async with Sender(LOOPBACK, connect_seconds=0.2, attempt_seconds=3600) as sender:
        result = await sender.send(f"http://127.0.0.1:{port}/", {}, BODY)
    for one in (*fillers, full):
        one.close()
    assert (result.error, result.request_headers) == (FailureCode.TIMEOUT, {})


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_only_2xx_is_delivered(sender: Sender, code: int) -> None:
    result = await deliver(sender, answers(status(code)))
    assert (result.delivered, result.status, result.error) == (True, code, None)


@pytest.mark.parametrize("code", [300, 301, 304, 307, 308, 400, 401, 404, 410, 429, 500, 503, 599, 999])
async def test_everything_else_is_not(sender: Sender, code: int) -> None:
    body = b"" if code == 304 else b"no"
    result = await deliver(sender, answers(status(code, body)))
    assert (result.delivered, result.status, result.error) == (False, code, FailureCode.HTTP_STATUS)
    assert result.response_excerpt == body.decode()


async def test_a_redirect_is_not_followed_and_a_cookie_not_kept(sender: Sender) -> None:
    async with Receiver(answers(status(200))) as second:
        moved = answers(status(307, b"", f"Location: {second.url}", "Set-Cookie: a=b; Path=/"))
        async with Receiver(moved) as first:
            for _ in range(2):
                result = await sender.send(first.url, {}, BODY)
                assert (result.status, result.delivered) == (307, False)
        assert second.connections == 0
    assert len(first.requests) == 2
    assert all(b"cookie" not in head.lower() for head, _ in first.requests)
    assert first.connections == 1


async def test_informational_answers_come_before_the_answer(sender: Sender) -> None:
    result = await deliver(sender, answers(b"HTTP/1.1 103 Early Hints\r\n\r\n" + status(200, b"ok")))
    assert (result.delivered, result.status) == (True, 200)


async def test_slow_headers_are_a_timeout(hasty: Sender) -> None:
    result = await deliver(hasty, hangs)
    assert (result.delivered, result.status, result.error) == (False, None, FailureCode.TIMEOUT)


async def drips_headers(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await receiver.read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drips_body(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await receiver.read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def early_hints_for_ever(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await receiver.read_request(reader)
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("script", [drips_headers, early_hints_for_ever])
async def test_dripping_headers_are_cut_by_the_whole_attempts_limit(hasty: Sender, script: Script) -> None:
    result = await deliver(hasty, script)
    assert (result.delivered, result.status, result.error) == (False, None, FailureCode.TIMEOUT)


async def test_a_dripping_body_is_cut_and_its_200_does_not_count(hasty: Sender) -> None:
    result = await deliver(hasty, drips_body)
    assert (result.delivered, result.status, result.error) == (False, 200, FailureCode.TIMEOUT)
    assert set(result.response_excerpt) == {"x"}


async def never_reads(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_a_receiver_that_never_reads_is_a_timeout(hasty: Sender) -> None:
    async with Receiver(never_reads) as receiver:
        result = await hasty.send(receiver.url, {}, b" " * 30_000_000)
    assert result.error is FailureCode.TIMEOUT


async def test_a_huge_body_is_cut_and_still_counts(sender: Sender) -> None:
    written = 0

    async def pours(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await receiver.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while True:
            writer.write(b"y" * 65536)
            await writer.drain()
            written += 65536

    result = await deliver(sender, pours)
    assert (result.delivered, result.status) == (True, 200)
    assert result.response_excerpt == "y" * 2000
    assert RESPONSE_CAP_BYTES <= written < 100_000_000


async def test_huge_headers_are_a_protocol_error(sender: Sender) -> None:
    result = await deliver(sender, answers_once(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"))
    assert (result.delivered, result.error) == (False, FailureCode.PROTOCOL_ERROR)


async def test_a_compressed_answer_is_not_inflated(sender: Sender) -> None:
    bomb = gzip.compress(b"z" * 50_000_000)
    result = await deliver(sender, answers(status(200, bomb, "Content-Encoding: gzip")))
    assert result.delivered
    assert "zzz" not in result.response_excerpt


async def test_the_excerpt_is_text_that_postgres_can_hold(sender: Sender) -> None:
    result = await deliver(sender, answers(status(500, b"a\x00b\xff" + "қ".encode() * 3000)))
    assert result.response_excerpt == "ab\ufffd" + "қ" * 1997
    assert "қ" not in repr(result)


async def test_a_reset_is_named(sender: Sender) -> None:
    result = await deliver(sender, resets)
    assert (result.delivered, result.status, result.error) == (False, None, FailureCode.CONNECTION_RESET)


async def test_a_reset_inside_the_body_does_not_count_as_delivered(sender: Sender) -> None:
    async def half(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)  # so that the half is usually read before the reset discards it
        reset(writer)

    result = await deliver(sender, half)
    assert (result.delivered, result.error) == (False, FailureCode.CONNECTION_RESET)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", FailureCode.CONNECTION_RESET),
        (b"HTTP/1.1 200 OK\r\nContent-Le", FailureCode.CONNECTION_RESET),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", FailureCode.PROTOCOL_ERROR),
        (b"\x15\x03\x01\x00\x02\x02\x46", FailureCode.PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", FailureCode.PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", FailureCode.PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", FailureCode.PROTOCOL_ERROR),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", FailureCode.PROTOCOL_ERROR),
    ],
)
async def test_answers_that_are_not_http(sender: Sender, payload: bytes, code: FailureCode) -> None:
    result = await deliver(sender, answers_once(payload))
    assert (result.delivered, result.error) == (False, code)


async def test_nobody_listens(sender: Sender) -> None:
    async with Receiver(hangs) as receiver:
        pass
    result = await sender.send(receiver.url, {}, BODY)
    assert (result.status, result.error) == (None, FailureCode.CONNECT_FAILED)


async def test_a_kept_connection_that_the_receiver_closed_is_replaced(sender: Sender) -> None:
    async with Receiver(answers_once(status(200))) as receiver:
        for _ in range(3):
            assert (await sender.send(receiver.url, {}, BODY)).delivered
            await asyncio.sleep(0.05)
    assert receiver.connections == 3


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("120", 120, 120),
        ("0", 1, 1),
        ("999999", 86400, 86400),
        ("9" * 5000, 86400, 86400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1, 1),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 86400, 86400),
    ],
)
async def test_retry_after(sender: Sender, value: str, low: int, high: int) -> None:
    result = await deliver(sender, answers(status(429, b"", f"Retry-After: {value}")))
    assert result.retry_after is not None
    assert low <= result.retry_after <= high


async def test_retry_after_as_a_date_is_counted_from_the_answer(sender: Sender) -> None:
    value = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    result = await deliver(sender, answers(status(429, b"", f"Retry-After: {value}")))
    assert result.retry_after is not None
    assert 7000 <= result.retry_after <= 7200


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "²", "1e3", "Wed, 99 Foo 2015 07:28:00 GMT", "0x10"])
async def test_retry_after_that_means_nothing(sender: Sender, value: str) -> None:
    result = await deliver(sender, answers(status(503, b"", f"Retry-After: {value}")))
    assert (result.status, result.retry_after) == (503, None)


async def test_a_delivered_attempt_asks_for_no_retry(sender: Sender) -> None:
    result = await deliver(sender, answers(status(200, b"", "Retry-After: 5")))
    assert (result.delivered, result.retry_after) == (True, None)


async def test_many_at_once_on_one_host(sender: Sender) -> None:
    together = 40
    arrived = asyncio.Event()

    async def waits_for_all(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.read_request(reader)
        if len(receiver.requests) == together:
            arrived.set()
        await arrived.wait()
        writer.write(status(200))
        await writer.drain()

    async with Receiver(waits_for_all) as receiver:
        results = await asyncio.gather(*(sender.send(receiver.url, {}, BODY) for _ in range(together)))
    assert [r.delivered for r in results] == [True] * together
    assert receiver.connections == together


async def test_waiting_for_a_place_is_not_part_of_the_attempt() -> None:
    async def first_hangs(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.read_request(reader)
        if len(receiver.requests) == 1:
            await asyncio.Event().wait()
        writer.write(status(200))
        await writer.drain()

    async with Sender(LOOPBACK, attempt_seconds=2.5, max_in_flight=1) as sender, Receiver(first_hangs) as receiver:
        slow, waiting = await asyncio.gather(*(sender.send(receiver.url, {}, BODY) for _ in range(2)))
    assert slow.error is FailureCode.TIMEOUT
    assert waiting.delivered


async def test_cancellation_passes_through_and_frees_the_place() -> None:
    async with Sender(LOOPBACK, attempt_seconds=30, max_in_flight=1) as sender:
        async with Receiver(hangs) as receiver:
            for _ in range(10):
                sending = asyncio.create_task(sender.send(receiver.url, {}, BODY))
                await receiver.got_request.wait()
                receiver.got_request.clear()
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
        assert (await deliver(sender, answers(status(200)))).delivered


async def test_no_log_line_holds_the_url(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Receiver(answers(status(500))) as receiver:
        await sender.send(f"{receiver.url}?token=very-secret", {}, BODY)
    await sender.send("http://127.0.0.1:1/?token=very-secret", {}, BODY)
    await sender.send("http://10.0.0.1/?token=very-secret", {}, BODY)
    assert "very-secret" not in caplog.text
