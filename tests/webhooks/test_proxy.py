"""Webhooks through an egress proxy: the address that was checked is the one the proxy is asked for."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runtime.settings import SettingsError, Webhooks, load
from tests.webhooks.proxies import targets, tunnels
from tests.webhooks.receivers import NameServer, Receiver, Script, answers, answers_once, hangs, status
from tests.webhooks.test_guard import INNER_HOSTS, WRONG_SHAPES
from tests.webhooks.test_sender_refusals import INNER_ADDRESSES, address_in_label, label_for
from tests.webhooks.tls_material import certificate, server_side, trusting
from webhooks.attempt import Attempt
from webhooks.errors import FailureCode
from webhooks.guard import EgressRules
from webhooks.proxy import EgressProxy
from webhooks.sender import Sender
from webhooks.signing import new_secret, sign, verify

BODY = '{"сумма":"10000.00"}'.encode()
# A public address; no packet of these tests goes there: the proxy tunnels to a receiver on loopback instead.
PUBLIC = "8.8.8.8"
STRICT = EgressRules()
SHOP = f"{label_for(PUBLIC)}.shop.kz"


def to(proxy: Receiver, credentials: str = "", scheme: str = "http") -> EgressProxy:
    return EgressProxy.parse(f"{scheme}://{credentials}127.0.0.1:{proxy.port}")


async def test_tls_is_the_receivers_and_the_connect_goes_to_the_checked_address(tmp_path: Path) -> None:
    file = certificate(tmp_path, address=SHOP)
    secret, names_asked = new_secret(), []
    context = server_side(file)
    context.sni_callback = lambda _socket, name, _context: names_asked.append(name)
    now = datetime.now(UTC)
    async with (
        NameServer(address_in_label) as names,
        Receiver(answers(status(200, b"ok")), tls=context) as receiver,
        Receiver(tunnels({f"{PUBLIC}:8443": receiver.port})) as proxy,
        Sender(STRICT, tls=trusting(file), resolver=names.resolver, proxy=to(proxy)) as sender,
    ):
        headers = sign([secret], "evt_1", now, BODY)
        results = [await sender.send(f"https://{SHOP}:8443/hook", headers, BODY) for _ in range(2)]
    assert [one.delivered for one in results] == [True, True]
    assert targets(proxy) == [f"{PUBLIC}:8443"]  # the second attempt found the tunnel of the first
    assert names_asked == [SHOP]
    assert names.lookups == 1
    head, body = receiver.requests[0]
    lower = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if line)
    assert lower["host"] == f"{SHOP}:8443"
    assert not {name for name in lower if name.startswith("proxy-")}
    verify(secret, results[0].request_headers, body, now, timedelta(minutes=1))


@pytest.mark.parametrize(("address", "target"), [(PUBLIC, f"{PUBLIC}:80"), ("2606:4700::1111", "[2606:4700::1111]:80")])
async def test_plain_http_of_a_sandbox_goes_through_a_tunnel_too(address: str, target: str) -> None:
    host = f"{label_for(address)}.shop.kz"
    async with (
        NameServer(address_in_label) as names,
        Receiver(answers(status(200))) as receiver,
        Receiver(tunnels({target: receiver.port})) as proxy,
        Sender(STRICT, resolver=names.resolver, proxy=to(proxy)) as sender,
    ):
        assert (await sender.send(f"http://{host}/hook", {}, BODY, is_sandbox=True)).delivered
        live = await sender.send(f"http://{host}/hook", {}, BODY)
    assert live.error is FailureCode.URL_REFUSED
    assert targets(proxy) == [target]
    [(head, body)] = receiver.requests
    assert head.startswith(b"POST /hook HTTP/1.1\r\nHost: " + host.encode() + b"\r\n")
    assert body == BODY


async def test_a_name_that_resolves_inside_gets_no_connect_at_all() -> None:
    labels = [label_for(address) for address in INNER_ADDRESSES]
    labels += [label_for(PUBLIC, "127.0.0.1"), label_for(PUBLIC, "::1")]
    urls = [f"https://{label}.shop.kz/" for label in labels] + [f"http://{label}.shop.kz/" for label in labels]
    urls += [f"https://{host}/" for host in INNER_HOSTS] + WRONG_SHAPES
    async with (
        NameServer(address_in_label) as names,
        Receiver(tunnels({})) as proxy,
        Sender(STRICT, resolver=names.resolver, proxy=to(proxy)) as sender,
    ):
        for url in urls:
            result = await sender.send(url, {}, BODY, is_sandbox=True)
            assert (result.error, result.request_headers) == (FailureCode.URL_REFUSED, {}), url
    assert names.lookups == 2 * len(labels)
    assert proxy.connections == 0


async def test_a_name_that_moves_inside_gets_no_second_connect() -> None:
    moves = iter([PUBLIC, PUBLIC])  # one answer each for A and AAAA, then 127.0.0.1

    async with (
        NameServer(lambda label: [next(moves, "127.0.0.1")]) as names,
        Receiver(answers_once(status(200))) as receiver,
        Receiver(tunnels({f"{PUBLIC}:80": receiver.port, "127.0.0.1:80": receiver.port})) as proxy,
        Sender(STRICT, resolver=names.resolver, proxy=to(proxy)) as sender,
    ):
        first = await sender.send("http://shop.kz/", {}, BODY, is_sandbox=True)
        await asyncio.sleep(0.05)
        second = await sender.send("http://shop.kz/", {}, BODY, is_sandbox=True)
    assert first.delivered
    assert second.error is FailureCode.URL_REFUSED
    assert targets(proxy) == [f"{PUBLIC}:80"]


async def test_a_name_that_does_not_resolve_is_not_the_proxys_fault() -> None:
    async with (
        NameServer(lambda label: []) as names,
        Receiver(tunnels({})) as proxy,
        Sender(STRICT, resolver=names.resolver, proxy=to(proxy)) as sender,
    ):
        assert (await sender.send("https://nowhere.shop.kz/", {}, BODY)).error is FailureCode.DNS_FAILED
    assert proxy.connections == 0


async def test_the_next_address_is_tried_where_the_proxy_reaches_none_at_the_first() -> None:
    host = f"{label_for(PUBLIC, '1.1.1.1')}.shop.kz"
    async with (
        NameServer(address_in_label) as names,
        Receiver(answers(status(200))) as receiver,
        Receiver(tunnels({"1.1.1.1:80": receiver.port})) as proxy,
        Sender(STRICT, resolver=names.resolver, proxy=to(proxy)) as sender,
    ):
        assert (await sender.send(f"http://{host}/", {}, BODY, is_sandbox=True)).delivered
    assert targets(proxy) == [f"{PUBLIC}:80", "1.1.1.1:80"]


async def test_credentials_are_the_proxys_alone() -> None:
    async with (
        NameServer(address_in_label) as names,
        Receiver(answers(status(200))) as receiver,
        Receiver(tunnels({f"{PUBLIC}:80": receiver.port}, credentials="tolem:p@ss:w/rd")) as proxy,
    ):
        way = to(proxy, "tolem:p%40ss%3Aw%2Frd@")
        assert "tolem" not in repr(way)
        async with Sender(STRICT, resolver=names.resolver, proxy=way) as sender:
            right = await sender.send(f"http://{SHOP}/", {}, BODY, is_sandbox=True)
        async with Sender(STRICT, resolver=names.resolver, proxy=to(proxy, "tolem:wrong@")) as sender:
            wrong = await sender.send(f"http://{SHOP}/", {}, BODY, is_sandbox=True)
    assert right.delivered
    assert (wrong.error, wrong.status, wrong.request_headers) == (FailureCode.PROXY_FAILED, None, {})
    [(head, _)] = receiver.requests
    assert b"proxy-authorization" not in head.lower()
    assert not any(name.lower().startswith("proxy") for name in right.request_headers)


async def test_a_proxy_over_tls_carries_tls_of_its_own_trust(tmp_path: Path) -> None:
    own, shop = certificate(tmp_path, address="127.0.0.1"), certificate(tmp_path, address=SHOP)
    async with (
        NameServer(address_in_label) as names,
        Receiver(answers(status(200)), tls=server_side(shop)) as receiver,
        Receiver(tunnels({f"{PUBLIC}:443": receiver.port}), tls=server_side(own)) as proxy,
    ):

        async def through(trusted: ssl.SSLContext) -> Attempt:
            way = to(proxy, scheme="https")
            async with Sender(
                STRICT, tls=trusting(shop), resolver=names.resolver, proxy=way, proxy_tls=trusted
            ) as sender:
                return await sender.send(f"https://{SHOP}/", {}, BODY)

        right, untrusted = await through(trusting(own)), await through(trusting(shop))
    assert right.delivered
    assert untrusted.error is FailureCode.PROXY_FAILED
    assert targets(proxy) == [f"{PUBLIC}:443"]


async def test_the_proxy_cannot_stand_in_for_the_receiver(tmp_path: Path) -> None:
    other, shop = certificate(tmp_path, address="other.kz"), certificate(tmp_path, address=SHOP)
    async with (
        NameServer(address_in_label) as names,
        Receiver(answers(status(200)), tls=server_side(other)) as impostor,
        Receiver(tunnels({f"{PUBLIC}:443": impostor.port})) as proxy,
        Sender(STRICT, tls=trusting(other, shop), resolver=names.resolver, proxy=to(proxy)) as sender,
    ):
        result = await sender.send(f"https://{SHOP}/", {}, BODY)
    assert (result.error, result.request_headers) == (FailureCode.TLS_FAILED, {})
    assert impostor.requests == []


async def hangs_up(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


def replies(payload: bytes) -> Script:
    async def script(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(payload)
        await writer.drain()

    return script


async def silent(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (hangs_up, FailureCode.PROXY_FAILED),
        (replies(status(403, b"no")), FailureCode.PROXY_FAILED),
        (replies(status(302, b"", "Location: http://127.0.0.1/")), FailureCode.PROXY_FAILED),
        (replies(status(500, b"no")), FailureCode.PROXY_FAILED),
        (replies(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), FailureCode.PROXY_FAILED),
        (replies(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000), FailureCode.PROXY_FAILED),
        (replies(status(502, b"no")), FailureCode.CONNECT_FAILED),
        (replies(status(503, b"no")), FailureCode.CONNECT_FAILED),
        (replies(status(504, b"no")), FailureCode.CONNECT_FAILED),
        (silent, FailureCode.TIMEOUT),
    ],
)
async def test_what_goes_wrong_on_the_way_has_a_word(script: Script, code: FailureCode) -> None:
    patience = 0.5 if script is silent else 30  # only who says nothing is to meet it
    async with (
        NameServer(address_in_label) as names,
        Receiver(script) as proxy,
        Sender(STRICT, resolver=names.resolver, proxy=to(proxy), connect_seconds=patience) as sender,
    ):
        result = await sender.send(f"https://{SHOP}/", {}, BODY)
    assert (result.error, result.status, result.request_headers) == (code, None, {})
    assert proxy.connections == 1


async def test_a_proxy_that_is_away() -> None:
    async with Receiver(hangs) as proxy, NameServer(address_in_label) as names:
        away = to(proxy)
        unknown = EgressProxy(host="no-such-proxy.invalid", port=3128, tls=False)
        mute = to(proxy, scheme="https")
        async with Sender(STRICT, resolver=names.resolver, proxy=mute, connect_seconds=0.5) as sender:
            assert (await sender.send(f"https://{SHOP}/", {}, BODY)).error is FailureCode.PROXY_FAILED
    async with NameServer(address_in_label) as names:
        for way in (away, unknown):
            async with Sender(STRICT, resolver=names.resolver, proxy=way) as sender:
                assert (await sender.send(f"https://{SHOP}/", {}, BODY)).error is FailureCode.PROXY_FAILED


async def test_hosts_of_ones_own_network_are_called_without_the_proxy() -> None:
    async with Receiver(tunnels({})) as proxy, Receiver(answers(status(200))) as receiver:
        rules = EgressRules(allowed_hosts=frozenset({receiver.place}))
        async with Sender(rules, proxy=to(proxy)) as sender:
            assert (await sender.send(receiver.url, {}, BODY)).delivered
    assert proxy.connections == 0


NO_PROXIES = [
    "proxy:3128", "socks5://proxy:1080", "http://proxy", "http://:3128", "http://proxy:0", "http://proxy:x",
    "http://proxy:3128/path", "http://proxy:3128?a", "http://proxy:3128#a", "http://pro xy:3128", "http://прокси:3128",
    "http://user:pass@proxy", "http://user:hunter2@proxy:3128/path",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_PROXIES)
def test_what_is_no_proxy_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="write http://host:port") as caught:
        EgressProxy.parse(url)
    assert url not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(SettingsError) as stopped:
        load(Webhooks, environ={"TOLEM_WEBHOOK_PROXY_URL": url})
    [problem] = stopped.value.problems
    assert problem.name == "TOLEM_WEBHOOK_PROXY_URL"
    assert "hunter2" not in str(stopped.value)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "credentials"),
    [
        ("http://proxy:3128", "proxy", 3128, False, None),
        ("https://proxy.shop.kz:443/", "proxy.shop.kz", 443, True, None),
        ("http://[fd00::1]:3128", "fd00::1", 3128, False, None),
        ("http://user:p%40ss@proxy:3128", "proxy", 3128, False, "user:p@ss"),
        ("http://token@proxy:3128", "proxy", 3128, False, "token:"),
    ],
)
def test_the_setting_is_a_proxy(url: str, host: str, port: int, tls: bool, credentials: str | None) -> None:
    kept = load(Webhooks, environ={"TOLEM_WEBHOOK_PROXY_URL": url})[Webhooks].proxy_url
    assert kept is not None
    assert EgressProxy.parse(kept.reveal()) == EgressProxy(host=host, port=port, tls=tls, credentials=credentials)


def test_no_proxy_is_the_default() -> None:
    assert load(Webhooks, environ={})[Webhooks].proxy_url is None
