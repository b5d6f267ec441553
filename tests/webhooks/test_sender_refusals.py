"""The half of the guard that only sockets can show: nothing reaches a refused address."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.webhooks.receivers import NameServer, Receiver, answers, answers_once, status
from tests.webhooks.test_guard import INNER_HOSTS, WRONG_SHAPES
from tests.webhooks.tls_material import certificate, server_side, trusting
from webhooks.errors import FailureCode
from webhooks.guard import EgressRules
from webhooks.sender import Sender

BODY = b"{}"
HTTP_TO_PUBLIC = EgressRules(allow_http=True)

INNER_ADDRESSES = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1",
    "169.254.169.254", "168.63.129.16", "192.0.0.9", "224.0.0.1", "255.255.255.255",
    "::1", "::", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8", "64:ff9b:1::7f00:1", "2002:7f00:1::1", "2001:0:7f00:1::", "fe80::1", "fd00:ec2::254",
    "ff02::1", "fec0::1",
]  # fmt: skip


def address_in_label(label: str) -> list[str]:
    return [str(ipaddress.ip_address(bytes.fromhex(part))) for part in label.split("-")]


def label_for(*addresses: str) -> str:
    return "-".join(ipaddress.ip_address(address).packed.hex() for address in addresses)


async def test_the_listeners_do_hear_what_is_allowed(listeners: tuple[int, Callable[[], int]]) -> None:
    port, reached = listeners
    rules = EgressRules(allowed_hosts=frozenset({"127.0.0.1", "[::1]"}))
    async with Sender(rules) as sender:
        assert (await sender.send(f"http://127.0.0.1:{port}/", {}, BODY)).delivered
        await sender.send(f"http://[::1]:{port}/", {}, BODY)
    assert reached() == 2


async def test_no_connection_to_any_spelling(listeners: tuple[int, Callable[[], int]]) -> None:
    port, reached = listeners
    urls = [f"{scheme}://{host}:{port}/" for host in INNER_HOSTS for scheme in ("http", "https")]
    urls += [f"http://shop.kz\\@127.0.0.1:{port}/", f"http://shop.kz@127.0.0.1:{port}/", *WRONG_SHAPES]
    async with Sender(HTTP_TO_PUBLIC) as sender:
        results = await asyncio.gather(*(sender.send(url, {}, BODY) for url in urls))
    assert {r.error for r in results} == {FailureCode.URL_REFUSED}
    assert reached() == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_connection_to_a_name_that_resolves_inside(
    listeners: tuple[int, Callable[[], int]], scheme: str
) -> None:
    port, reached = listeners
    async with NameServer(address_in_label) as names, Sender(HTTP_TO_PUBLIC, resolver=names.resolver) as sender:
        # The last ones have a public address beside the inner one: reason enough to call neither.
        labels = [label_for(a) for a in INNER_ADDRESSES] + [
            label_for("8.8.8.8", "127.0.0.1"),
            label_for("8.8.8.8", "::1"),
        ]
        for label in labels:
            result = await sender.send(f"{scheme}://{label}.shop.kz:{port}/", {}, BODY)
            assert result.error is FailureCode.URL_REFUSED, label
        assert names.lookups == len(labels)
    assert reached() == 0


async def test_the_platforms_resolver_is_checked_too(listeners: tuple[int, Callable[[], int]]) -> None:
    port, reached = listeners

    def hosts_file(host: str, *rest: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        # What /etc/hosts of a container could say; getaddrinfo itself answers.
        return socket.getaddrinfo("localhost", *rest)  # type: ignore[return-value]  # IPv6 rows are longer

    async with Sender(HTTP_TO_PUBLIC, resolver=hosts_file) as sender:
        result = await sender.send(f"http://shop.kz:{port}/", {}, BODY)
    assert result.error is FailureCode.URL_REFUSED
    async with Sender(HTTP_TO_PUBLIC) as sender:
        assert (await sender.send(f"http://localhost:{port}/", {}, BODY)).error is FailureCode.URL_REFUSED
    assert reached() == 0


async def test_the_checked_address_is_the_dialled_one() -> None:
    """The name moves after the first lookup; a second lookup for the same connection would see the move."""
    answers_given: list[str] = []

    def moves(label: str) -> list[str]:
        answers_given.append(label)
        return ["127.0.0.1"] if len(answers_given) <= 2 else ["127.0.0.2"]  # A and AAAA are asked once each

    async with NameServer(moves) as names, Receiver(answers_once(status(200)), host="127.0.0.1") as first:
        rules = EgressRules(allowed_hosts=frozenset({f"hook.test:{first.port}"}))
        async with Sender(rules, resolver=names.resolver) as sender:
            assert (await sender.send(f"http://hook.test:{first.port}/", {}, BODY)).delivered
            assert names.lookups == 1
            await asyncio.sleep(0.05)
            moved = await sender.send(f"http://hook.test:{first.port}/", {}, BODY)
    assert moved.error is FailureCode.CONNECT_FAILED
    assert first.connections == 1


async def test_a_name_that_does_not_resolve() -> None:
    async with NameServer(lambda label: []) as names, Sender(EgressRules(), resolver=names.resolver) as sender:
        assert (await sender.send("https://nowhere.shop.kz/", {}, BODY)).error is FailureCode.DNS_FAILED


async def test_a_name_server_that_hangs_is_bounded_by_the_attempt() -> None:
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    from ssrfguard.resolvers import UdpResolver  # noqa: PLC0415 — beside its only use

    resolver = UdpResolver(nameservers=("127.0.0.1",), nameserver_port=silent.getsockname()[1], timeout=3.0)
    async with Sender(EgressRules(), resolver=resolver, attempt_seconds=0.2) as sender:
        result = await sender.send("https://slow.shop.kz/", {}, BODY)
    silent.close()
    assert result.error is FailureCode.TIMEOUT


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver(answers(status(200))) as proxy, Receiver(answers(status(200))) as receiver:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        async with Sender(EgressRules(allowed_hosts=frozenset({receiver.place}))) as sender:
            assert (await sender.send(receiver.url, {}, BODY)).delivered
    assert (proxy.connections, len(receiver.requests)) == (0, 1)


async def test_tls_is_verified_against_the_host(tmp_path: Path) -> None:
    right, wrong = certificate(tmp_path, address="127.0.0.1"), certificate(tmp_path, address="127.0.0.9")
    rules = EgressRules(allowed_hosts=frozenset({"127.0.0.1"}))
    async with (
        Receiver(answers(status(200)), tls=server_side(right)) as good,
        Receiver(answers(status(200)), tls=server_side(wrong)) as impostor,
    ):
        async with Sender(rules, tls=trusting(right)) as sender:
            assert (await sender.send(f"https://127.0.0.1:{good.port}/", {}, BODY)).delivered
        async with Sender(rules, tls=trusting(wrong)) as sender:
            other_name = await sender.send(f"https://127.0.0.1:{impostor.port}/", {}, BODY)
        async with Sender(rules) as sender:
            untrusted = await sender.send(f"https://127.0.0.1:{good.port}/", {}, BODY)
    assert (other_name.error, untrusted.error) == (FailureCode.TLS_FAILED, FailureCode.TLS_FAILED)
    assert (len(good.requests), len(impostor.requests)) == (1, 0)


async def test_tls_to_servers_that_do_not_finish_the_handshake(tmp_path: Path) -> None:
    async def hangs_up(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def plain(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(status(400, b"plain http"))
        await writer.drain()

    rules = EgressRules(allowed_hosts=frozenset({"127.0.0.1"}))
    file = certificate(tmp_path, address="127.0.0.1")
    wants_a_certificate = server_side(file)
    wants_a_certificate.verify_mode = ssl.CERT_REQUIRED
    async with (
        Sender(rules, tls=trusting(file), connect_seconds=30) as sender,
        Receiver(hangs_up) as closing,
        Receiver(plain) as talking,
        Receiver(answers(status(200)), tls=wants_a_certificate) as mutual,
    ):
        results = [
            await sender.send(f"https://127.0.0.1:{receiver.port}/", {}, BODY)
            for receiver in (closing, talking, mutual)
        ]
    assert [r.delivered for r in results] == [False] * 3
    assert [r.error for r in results[:2]] == [FailureCode.TLS_FAILED] * 2
    # TLS 1.3 refuses our missing certificate after our handshake is over; its alert races with the close.
    assert results[2].error in {FailureCode.TLS_FAILED, FailureCode.CONNECTION_RESET}


async def test_garbage_after_the_handshake_is_a_tls_failure(tmp_path: Path) -> None:
    """The one failure that leaves the HTTP stack as a bare ssl.SSLError."""
    file = certificate(tmp_path, address="127.0.0.1")
    listener = socket.create_server(("127.0.0.1", 0))

    def breaks_the_records() -> None:
        connection = server_side(file).wrap_socket(listener.accept()[0], server_side=True)
        connection.recv(65536)
        raw = socket.socket(fileno=connection.detach())
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        raw.recv(65536)
        raw.close()

    async with Sender(EgressRules(allowed_hosts=frozenset({"127.0.0.1"})), tls=trusting(file)) as sender:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        result, _ = await asyncio.gather(sender.send(url, {}, BODY), asyncio.to_thread(breaks_the_records))
    listener.close()
    assert result.error is FailureCode.TLS_FAILED
