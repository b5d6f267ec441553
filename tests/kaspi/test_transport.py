"""The bank's ugliest moments on real sockets: what each means for a read, a harmless create and a money call."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from kaspi.client import KaspiClient, Scheme
from kaspi.errors import (
    KaspiError,
    KaspiMisconfigured,
    KaspiOutcomeUnknown,
    KaspiRefused,
    KaspiThrottled,
    KaspiUnavailable,
)
from tests.kaspi.conftest import ConfigFor
from tests.kaspi.pki import Authority
from tests.kaspi.rawbank import (
    RawBank,
    Reply,
    Seen,
    answer,
    reset,
    running,
    send,
    send_and_close,
    server_tls,
    silence,
    strict_door,
)

PHONE = "77011234567"
Act = Callable[[KaspiClient], Awaitable[object]]

READS: dict[str, Act] = {
    "payment/status": lambda client: client.payment_status(12_800_000_001),
    "payment/details": lambda client: client.payment_details("token", 12_800_000_001),
    "qr/create": lambda client: client.create_qr("token", 10_050),
    "health/ping": lambda client: client.ping(),
}
MONEY: dict[str, Act] = {
    "remote/create": lambda client: client.create_remote("token", 10_050, PHONE, "order 7"),
    "remote/cancel": lambda client: client.cancel_remote("token", 12_800_000_001),
    "payment/return": lambda client: client.return_payment("token", 12_800_000_001, 10_050),
}
HTML = "<html><body>Request blocked</body></html>"
OK = '{"StatusCode":0,"Data":{"Status":"Wait","QrPaymentId":12800000001}}'

# What came back, the reason, the class on harmless calls; on money calls each of these is an unknown outcome.
UNCLEAR: list[tuple[Reply, str, type[KaspiError]]] = [
    (reset, "connection_lost", KaspiUnavailable),
    (send_and_close(b""), "connection_lost", KaspiUnavailable),
    (send_and_close(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"), "connection_lost", KaspiUnavailable),
    (
        send_and_close(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + OK[:20].encode()),
        "unreadable_answer",
        KaspiUnavailable,
    ),
    (send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "connection_lost", KaspiUnavailable),
    (answer(""), "empty_answer", KaspiUnavailable),
    (answer("  \r\n"), "empty_answer", KaspiUnavailable),
    (answer("null"), "unreadable_answer", KaspiUnavailable),
    (answer("[]"), "unreadable_answer", KaspiUnavailable),
    (answer('{"StatusCode":0,"Data":' + "[" * 100_000), "unreadable_answer", KaspiUnavailable),
    (answer(b'{"StatusCode":0,"Message":"\xff\xfe"}'), "unreadable_answer", KaspiUnavailable),
    (answer('{"Message":"OK"}'), "unreadable_answer", KaspiUnavailable),
    (answer('{"StatusCode":null}'), "unreadable_answer", KaspiUnavailable),
    (answer('{"StatusCode":false}'), "unreadable_answer", KaspiUnavailable),
    (answer('{"statusCode":0}'), "unreadable_answer", KaspiUnavailable),
    (answer('{"StatusCode":0,"Data":{}'), "unreadable_answer", KaspiUnavailable),
    (answer("x" * 300_000), "answer_too_large", KaspiUnavailable),
    (answer("{}", "500 Oops"), "http_500", KaspiUnavailable),
    (answer(OK, "500 Oops"), "http_500", KaspiUnavailable),
    (answer('{"StatusCode":-99000005}', "502 Bad"), "http_502", KaspiUnavailable),
    (answer(HTML, "503 Busy", "text/html"), "http_503", KaspiUnavailable),
    (answer("", "302 Found", "text/plain", "Location: https://127.0.0.1:1/"), "http_302", KaspiUnavailable),
    (answer("", "204 No Content"), "http_204", KaspiUnavailable),
    (answer("not found", "404 Not Found"), "http_404", KaspiUnavailable),
    (answer(HTML, "404 Not Found", "text/html"), "http_404", KaspiUnavailable),
    (answer(OK, "409 Conflict"), "http_409", KaspiUnavailable),
    (answer('{"title":"Bad"}', "400 Bad Request"), "http_400", KaspiUnavailable),
    (answer("slow down", "429 Too Many"), "http_429", KaspiThrottled),
    (answer(HTML, "200 OK", "text/html"), "html_page", KaspiThrottled),
    (answer("\ufeff\r\n" + HTML), "html_page", KaspiThrottled),
    (answer(HTML, "403 Forbidden", "text/html"), "html_page", KaspiThrottled),
]


@pytest.mark.parametrize("case", range(len(UNCLEAR)))
async def test_unclear_answers_to_harmless_calls(bank: RawBank, r3: KaspiClient, case: int) -> None:
    bank.reply, reason, error = UNCLEAR[case]
    for call, act in READS.items():
        with pytest.raises(KaspiError) as caught:
            await act(r3)
        assert (type(caught.value), caught.value.reason, caught.value.call) == (error, reason, call)


@pytest.mark.parametrize("case", range(len(UNCLEAR)))
async def test_unclear_answers_to_money_calls(bank: RawBank, r3: KaspiClient, case: int) -> None:
    bank.reply, reason, _ = UNCLEAR[case]
    for call, act in MONEY.items():
        with pytest.raises(KaspiError) as caught:
            await act(r3)
        assert (type(caught.value), caught.value.reason, caught.value.call) == (KaspiOutcomeUnknown, reason, call)
        assert caught.value.request_id == bank.seen[-1].headers["x-request-id"]
    assert len(bank.seen) == len(MONEY), "a money call is sent once"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer("", "401 Unauthorized"), "http_401"),
        (answer(HTML, "401 Unauthorized", "text/html"), "http_401"),
        (answer("{}", "403 Forbidden"), "http_403"),
        (answer('{"StatusCode":-10000}'), "certificate_missing"),
        (answer('{"StatusCode":-10000}', "400 Bad"), "certificate_missing"),
    ],
)
async def test_refused_identities_need_an_operator(bank: RawBank, r3: KaspiClient, reply: Reply, reason: str) -> None:
    bank.reply = reply
    for call, act in (READS | MONEY).items():
        with pytest.raises(KaspiMisconfigured) as caught:
            await act(r3)
        assert (caught.value.reason, caught.value.call) == (reason, call)


@pytest.mark.parametrize("value", ["null", "{}", '{"QrPaymentId":0,"ReturnOperationId":"x"}', "[1]", '{"Status":""}'])
async def test_success_without_its_data_is_an_unknown_outcome(bank: RawBank, r3: KaspiClient, value: str) -> None:
    bank.reply = answer(f'{{"StatusCode":0,"Data":{value}}}')
    for act in MONEY.values():
        with pytest.raises(KaspiOutcomeUnknown) as caught:
            await act(r3)
        assert (caught.value.reason, caught.value.code) == ("unreadable_answer", 0)
        assert caught.value.request_id


async def test_success_without_data_at_all(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = answer('{"StatusCode":0}')
    for act in MONEY.values():
        with pytest.raises(KaspiOutcomeUnknown, match="unreadable_answer"):
            await act(r3)
    await r3.ping()


@pytest.mark.parametrize("call", MONEY)
@pytest.mark.parametrize("dress", [(), ("200 OK", "text/html"), ("400 Bad Request", "text/plain")])
async def test_a_typed_refusal_is_a_refusal(bank: RawBank, r3: KaspiClient, call: str, dress: tuple[str, ...]) -> None:
    code = -1404 if call == "remote/create" else -99000001
    bank.reply = answer(f'\ufeff{{"StatusCode":"{code}"}}', *dress)
    with pytest.raises(KaspiRefused) as caught:
        await MONEY[call](r3)
    assert caught.value.code == code


async def test_a_slow_body_counts_against_the_whole_call(
    bank: RawBank, config_for: ConfigFor, r3_tls: ssl.SSLContext
) -> None:
    async def drip(request: object) -> None:
        bank.seen[-1].writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not bank.seen[-1].writer.is_closing():
            bank.seen[-1].writer.write(b" ")
            await bank.seen[-1].writer.drain()
            await asyncio.sleep(0.05)

    bank.reply = drip
    config = config_for(Scheme.R3, bank.url("r3"), connect_timeout=0.8, read_timeout=0.3)
    async with KaspiClient(config, tls=r3_tls) as client:
        with pytest.raises(KaspiUnavailable, match="payment/details: timeout"):
            await READS["payment/details"](client)
        with pytest.raises(KaspiOutcomeUnknown, match="remote/create: timeout"):
            await MONEY["remote/create"](client)


async def test_silence_after_the_request(bank: RawBank, config_for: ConfigFor, r3_tls: ssl.SSLContext) -> None:
    bank.reply = silence
    config = config_for(Scheme.R3, bank.url("r3"), connect_timeout=10, read_timeout=0.2)
    async with KaspiClient(config, tls=r3_tls) as client:
        with pytest.raises(KaspiOutcomeUnknown, match="remote/create: timeout"):
            await MONEY["remote/create"](client)
        with pytest.raises(KaspiUnavailable, match="payment/details: timeout"):
            await READS["payment/details"](client)


@pytest.mark.parametrize("call", [*READS, *MONEY])
async def test_what_was_never_sent_is_never_unknown(config_for: ConfigFor, r3_tls: ssl.SSLContext, call: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{closed.getsockname()[1]}/r3/v01"
        async with KaspiClient(config_for(Scheme.R3, url), tls=r3_tls) as client:
            with pytest.raises(KaspiUnavailable) as caught:
                await (READS | MONEY)[call](client)
    assert caught.value.reason == "connect_failed"


async def test_a_handshake_that_hangs_sent_nothing(config_for: ConfigFor, r3_tls: ssl.SSLContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel completes TCP; nobody ever speaks TLS
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/r3/v01"
        config = config_for(Scheme.R3, url, connect_timeout=0.3, read_timeout=0.1)
        async with KaspiClient(config, tls=r3_tls) as client:
            with pytest.raises(KaspiUnavailable, match="remote/create: connect_timeout"):
                await MONEY["remote/create"](client)


@pytest.mark.parametrize("hard", [True, False])
async def test_a_handshake_cut_off_sent_nothing(config_for: ConfigFor, r3_tls: ssl.SSLContext, hard: bool) -> None:
    """A balancer without a living bank behind it: no word about certificates, so no word to the operator."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if hard:
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/r3/v01"
    async with server, KaspiClient(config_for(Scheme.R3, url), tls=r3_tls) as client:
        with pytest.raises(KaspiUnavailable, match="remote/create: connect_failed"):
            await MONEY["remote/create"](client)


async def test_a_full_pool_sent_nothing(bank: RawBank, config_for: ConfigFor, r3_tls: ssl.SSLContext) -> None:
    arrived = asyncio.Event()

    async def hold(request: Seen) -> None:
        arrived.set()
        await silence(request)

    bank.reply = hold
    config = config_for(Scheme.R3, bank.url("r3"), max_connections=1, connect_timeout=1.5, read_timeout=60)
    async with KaspiClient(config, tls=r3_tls) as client:
        first = asyncio.create_task(client.create_remote("token", 100, PHONE, "first"))
        await arrived.wait()
        with pytest.raises(KaspiUnavailable) as caught:
            await client.create_remote("token", 100, PHONE, "second")
        assert caught.value.reason == "all_connections_busy"
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert len(bank.seen) == 1


async def test_money_calls_never_ride_on_a_kept_connection(bank: RawBank, r3: KaspiClient) -> None:
    bank.reply = answer(OK)
    for _ in range(2):
        await r3.payment_status(1)
    assert bank.connections == 1
    for _ in range(3):
        await MONEY["remote/create"](r3)
    assert [request.connection for request in bank.seen] == [1, 1, 2, 3, 4]


async def test_a_kept_connection_closed_while_idle_costs_a_read_nothing_worse_than_a_retry(
    bank: RawBank, r3: KaspiClient
) -> None:
    bank.reply = answer(OK)
    await r3.payment_status(1)

    bank.reply = reset  # as when the bank's idle timer and our request cross
    with pytest.raises(KaspiUnavailable):
        await r3.payment_status(1)

    bank.reply = answer(OK)
    assert (await r3.payment_status(1)).word == "Wait"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("call", ["payment/details", "remote/create"])
async def test_a_rejected_client_certificate(
    authority: Authority, config_for: ConfigFor, version: ssl.TLSVersion, call: str
) -> None:
    """TLS 1.3 says so only after our request has left: still not executed, still an operator's matter."""
    tls = server_tls(authority.issue("localhost"), client_ca=Authority("Another CA"))
    tls.minimum_version = tls.maximum_version = version
    with strict_door(tls) as port:
        async with KaspiClient(config_for(Scheme.R3, f"https://127.0.0.1:{port}/r3/v01")) as client:
            with pytest.raises(KaspiMisconfigured, match="client_certificate_rejected"):
                await (READS | MONEY)[call](client)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (ssl.TLSVersion.TLSv1_2, "tls_handshake_rejected"),
        (ssl.TLSVersion.TLSv1_3, "client_certificate_rejected"),
    ],
)
async def test_a_missing_client_certificate(
    authority: Authority, config_for: ConfigFor, version: ssl.TLSVersion, reason: str
) -> None:
    tls = server_tls(authority.issue("localhost"), client_ca=authority)
    tls.minimum_version = tls.maximum_version = version
    with strict_door(tls) as port:
        async with KaspiClient(config_for(Scheme.R1, f"https://127.0.0.1:{port}/r1/v01")) as client:
            with pytest.raises(KaspiMisconfigured, match=reason):
                await client.ping()


async def test_an_accepted_client_certificate(authority: Authority, config_for: ConfigFor) -> None:
    tls = server_tls(authority.issue("localhost"), client_ca=authority)
    async with running(tls) as bank, KaspiClient(config_for(Scheme.R3, bank.url("r3"))) as client:
        bank.reply = answer(OK)
        assert await MONEY["remote/create"](client) == 12_800_000_001


@pytest.mark.parametrize("call", ["payment/details", "remote/create"])
async def test_a_bank_we_do_not_trust(bank: RawBank, config_for: ConfigFor, call: str) -> None:
    async with KaspiClient(config_for(Scheme.R3, bank.url("r3"), trust_pem=Authority("Other").pem)) as client:
        with pytest.raises(KaspiMisconfigured) as caught:
            await (READS | MONEY)[call](client)
    assert caught.value.reason == "bank_certificate_untrusted"
    assert not bank.seen


async def test_a_bank_under_another_name(authority: Authority, config_for: ConfigFor, r3_tls: ssl.SSLContext) -> None:
    async with running(server_tls(authority.issue("bank", host="bank.example"))) as other:
        async with KaspiClient(config_for(Scheme.R3, other.url("r3")), tls=r3_tls) as client:
            with pytest.raises(KaspiMisconfigured, match="bank_certificate_untrusted"):
                await client.ping()
        assert not other.seen


async def test_a_plain_http_port(config_for: ConfigFor, r3_tls: ssl.SSLContext) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/r3/v01"
    async with server, KaspiClient(config_for(Scheme.R3, url), tls=r3_tls) as client:
        with pytest.raises(KaspiMisconfigured, match="tls_handshake_rejected"):
            await MONEY["remote/create"](client)


async def test_nothing_personal_or_secret_reaches_a_log_or_an_error(
    bank: RawBank, config_for: ConfigFor, r3: KaspiClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    message = "Клиент 87011234567 Иванов не найден"
    texts: list[str] = []
    with capture_logs() as logs:
        async with KaspiClient(config_for(Scheme.R1, bank.url())) as r1:
            bank.reply = answer('{"StatusCode":0}')
            await r1.ping()
        for reply in (answer(f'{{"StatusCode":-1404,"Message":"{message}"}}'), answer(message), reset):
            bank.reply = reply
            for act in (
                lambda: r3.client_info(PHONE, "tok-en"),
                lambda: r3.create_remote("tok-en", 5, PHONE, "for Ivanov"),
            ):
                with pytest.raises(KaspiError) as caught:
                    await act()
                assert caught.value.__cause__ is None
                assert caught.value.__context__ is None
                texts.append(repr(caught.value))
    assert len(logs) == 7
    assert all(entry["request_id"] for entry in logs)
    texts += [repr(logs), caplog.text]
    for text in texts:
        for secret in ("7011234567", "Ivanov", "Иванов", "tok-en", "0b8f9a54"):
            assert secret not in text
