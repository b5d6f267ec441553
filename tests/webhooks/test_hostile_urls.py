"""More than 200 hostile URLs and names that change: not one connection, not one dial, at either door."""

import asyncio
import ipaddress
import random
import socket
import ssl
from collections.abc import Callable, Iterable

import pytest

from tests.webhooks.hostile import WELL_KNOWN_NAMES, hostile_urls, watched
from tests.webhooks.receivers import Receiver, answers, status
from webhooks.errors import FailureCode, UrlRefused
from webhooks.guard import EgressRules, check_url
from webhooks.sender import Sender

BODY = b"{}"
# One for all: a context that reads the system's roots takes longer than any of these attempts.
TLS = ssl.create_default_context()
# As open as an operator can make it without naming an inner host.
OPEN = EgressRules(allow_http=True, allowed_hosts=frozenset({"receiver.shop.kz", "10.9.9.9:1"}))
PUBLIC, PUBLIC_TOO, PUBLIC_SIX = "8.8.8.8", "1.1.1.1", "2606:4700::1111"
Listeners = tuple[int, Callable[[], int]]
Row = tuple[int, int, int, str, tuple[str, int]]


class Names:
    """A resolver that says what it is told, one answer after the other; the last one stays."""

    def __init__(self, *said: list[str]) -> None:
        self.lookups = 0
        self._said = said

    def __call__(self, host: str, port: int, *rest: int) -> list[Row]:
        found = self._said[min(self.lookups, len(self._said) - 1)]
        self.lookups += 1
        return rows(found, port)


def rows(addresses: Iterable[str], port: int) -> list[Row]:
    six = {True: socket.AF_INET6, False: socket.AF_INET}
    return [(six[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]


async def test_the_watch_and_the_listeners_see_what_is_allowed(listeners: Listeners) -> None:
    port, reached = listeners
    hosts = ["127.0.0.1", "[::1]", "localhost"]
    with watched() as watch:
        async with Sender(EgressRules(allowed_hosts=frozenset(hosts)), tls=TLS) as sender:
            for host in hosts:
                await sender.send(f"http://{host}:{port}/", {}, BODY)
    assert reached() == 3
    assert watch.dials[:2] == [("127.0.0.1", port), ("::1", port)]
    assert "localhost" in watch.lookups


async def test_no_hostile_url_is_taken_or_called(listeners: Listeners) -> None:
    port, reached = listeners
    urls = hostile_urls(port)
    assert len(urls) >= 200
    passed = []
    with watched() as watch:
        for url in [*urls, *(one.replace("http://", "https://", 1) for one in urls)]:
            for is_sandbox in (True, False):
                try:
                    check_url(url, OPEN, is_sandbox=is_sandbox)
                except UrlRefused:
                    continue
                passed.append(url)
        async with Sender(OPEN, attempt_seconds=5, tls=TLS) as sender:
            results = await asyncio.gather(*(sender.send(url, {}, BODY, is_sandbox=True) for url in urls))
    assert passed == []
    assert [url for url, one in zip(urls, results, strict=True) if one.error is not FailureCode.URL_REFUSED] == []
    # Not even a name was looked up: what is known to be wrong tells nobody's name server anything.
    assert (watch.dials, watch.lookups, reached()) == ([], [], 0)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_well_known_name_of_an_inner_address_is_called(listeners: Listeners, scheme: str) -> None:
    port, reached = listeners
    with watched() as watch:
        for name, addresses in WELL_KNOWN_NAMES.items():
            url = f"{scheme}://{name}:{port}/"
            check_url(url, OPEN)  # no name says where it leads, so registration takes it
            names = Names(addresses)
            async with Sender(OPEN, resolver=names, tls=TLS) as sender:
                assert (await sender.send(url, {}, BODY)).error is FailureCode.URL_REFUSED, name
            assert names.lookups == 1
    assert (watch.dials, reached()) == ([], 0)


@pytest.mark.parametrize(
    "mixed",
    [
        [PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC, PUBLIC_TOO, "10.0.0.1"], [PUBLIC, "::1"],
        [PUBLIC_SIX, "127.0.0.1"], ["::1", PUBLIC], [PUBLIC, "169.254.169.254"], [PUBLIC_SIX, "fd00:ec2::254"],
        [PUBLIC, "::ffff:127.0.0.1"], [PUBLIC, "64:ff9b::a00:1"], [PUBLIC] * 5 + ["127.0.0.1"], [PUBLIC, "fe80::1%lo"],
    ],
)  # fmt: skip
async def test_one_inner_address_among_public_ones_refuses_the_name(listeners: Listeners, mixed: list[str]) -> None:
    port, reached = listeners
    with watched() as watch:
        async with Sender(OPEN, resolver=Names(mixed), tls=TLS) as sender:
            result = await sender.send(f"https://rebind.shop.kz:{port}/", {}, BODY)
    assert result.error is FailureCode.URL_REFUSED
    assert (watch.dials, reached()) == ([], 0)


async def test_a_name_that_changes_between_lookups_is_dialled_where_it_was_checked(listeners: Listeners) -> None:
    """The answer turns inner right after the check: whoever looked up a second time to dial would land here."""
    port, reached = listeners
    names = Names([PUBLIC], ["127.0.0.1"])
    with watched() as watch:
        async with Sender(OPEN, resolver=names, tls=TLS) as sender:
            first = await sender.send(f"http://rebind.shop.kz:{port}/", {}, BODY)
            dialled = list(watch.dials)
            second = await sender.send(f"http://rebind.shop.kz:{port}/", {}, BODY)
    assert (first.error, dialled) == (FailureCode.CONNECT_FAILED, [(PUBLIC, port)])
    assert second.error is FailureCode.URL_REFUSED
    assert (watch.dials, names.lookups, reached()) == (dialled, 2, 0)


async def test_whatever_a_name_server_makes_up_only_checked_addresses_are_dialled(listeners: Listeners) -> None:
    port, reached = listeners
    chance = random.Random(20261122)
    inner = [one for addresses in WELL_KNOWN_NAMES.values() for one in addresses if one != "192.80.8.124"]
    public = [PUBLIC, PUBLIC_TOO, PUBLIC_SIX]
    dialled = 0
    for number in range(200):
        said = [
            [chance.choice(public if chance.random() < 0.6 else inner) for _ in range(chance.randint(1, 4))]
            for _ in range(3)
        ]
        names = Names(*said)
        async with Sender(OPEN, resolver=names, tls=TLS) as sender:
            for answer in said:
                with watched() as watch:
                    result = await sender.send(f"http://n{number}.shop.kz:{port}/", {}, BODY)
                clean = not set(answer) & set(inner)
                expected = {(str(ipaddress.ip_address(one)), port) for one in answer} if clean else set()
                assert set(watch.dials) == expected, said
                assert result.error is (FailureCode.CONNECT_FAILED if clean else FailureCode.URL_REFUSED)
                dialled += len(watch.dials)
        assert names.lookups == 3
    assert dialled > 100
    assert reached() == 0


@pytest.mark.parametrize("code", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_to_an_inner_host_leads_nowhere(listeners: Listeners, code: int) -> None:
    port, reached = listeners
    places = [
        f"http://127.0.0.1:{port}/", f"//127.0.0.1:{port}/", f"http://[::1]:{port}/", f"http://localhost:{port}/",
        f"http://2130706433:{port}/", f"/\\127.0.0.1:{port}/", f"http://169.254.169.254:{port}/latest/meta-data/",
    ]  # fmt: skip
    for place in places:
        moved = answers(status(code, b"", f"Location: {place}", f"Refresh: 0; url={place}", f"Link: <{place}>"))
        async with Receiver(moved) as receiver:
            rules = EgressRules(allowed_hosts=frozenset({receiver.place}))
            with watched() as watch:
                async with Sender(rules, tls=TLS) as sender:
                    result = await sender.send(receiver.url, {}, BODY)
        assert (result.status, result.error, result.delivered) == (code, FailureCode.HTTP_STATUS, False)
        assert watch.dials == [("127.0.0.1", receiver.port)]
    assert reached() == 0
