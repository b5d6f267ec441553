"""Hostile URLs, written down or derived by rule, and the watch that sees every dial before a packet leaves."""

import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv6Address

# One or more of each block of IANA's special-purpose registries, its edges included, and the clouds' metadata.
INNER_V4 = [
    "0.0.0.0", "0.0.0.1", "0.255.255.255", "10.0.0.0", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.64.0.1",
    "100.100.100.200", "100.127.255.255", "127.0.0.0", "127.0.0.1", "127.0.1.1", "127.1.2.3", "127.255.255.255",
    "168.63.129.16", "169.254.0.1", "169.254.169.123", "169.254.169.253", "169.254.169.254", "169.254.170.2",
    "169.254.255.255", "172.16.0.0", "172.16.0.1", "172.17.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.8",
    "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.88.99.2", "192.168.0.1", "192.168.1.254", "192.168.255.255", "192.175.48.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "224.0.0.251", "239.255.255.250", "240.0.0.1",
    "255.255.255.254", "255.255.255.255",
]  # fmt: skip
INNER_V6 = [
    "::", "::1", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "::0:1", "::2", "::ffff:0:0", "100::",
    "100::1", "100:0:0:1::1", "1000::1", "200::1", "400::1", "800::1", "4000::1", "5f00::1", "8000::1", "c000::1",
    "e000::1", "2001::1", "2001:1::1", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1", "2001:20::1",
    "2001:30::1", "2001:db8::1", "2001:db8:ffff::1", "3fff::1", "2620:4f:8000::1", "fc00::1", "fd00::1",
    "fd00:ec2::254", "fd20:ce::254", "fdff:ffff::1", "fe80::1", "fe80::a9fe:a9fe", "febf::1", "fec0::1", "fe00::1",
    "ff00::1", "ff01::1", "ff02::1", "ff02::fb", "ff05::2", "ff0e::1",
]  # fmt: skip
# What an IPv6 form could carry inside.
CARRIED = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "192.168.1.1", "8.8.8.8"]
SPELLED = ["127.0.0.1", "169.254.169.254", "10.0.0.1"]
LOCAL_NAMES = [
    "localhost", "LOCALHOST", "LocalHost", "localhost.", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "ｌｏｃａｌｈｏｓｔ",
    "%6c%6f%63%61%6c%68%6f%73%74", "localhost%00.shop.kz", "localhost%2eshop.kz", "a.localhost", "a.b.LOCALHOST.",
    "localhost.localdomain",
    "ip6-localhost", "ip6-loopback", "broadcasthost", "postgres", "temporal", "metadata", "instance-data",
    "metadata.google.internal", "METADATA.google.internal.", "instance-data.ec2.internal", "ip-10-0-0-1.ec2.internal",
    "metadata.internal", "kubernetes", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
    "host.docker.internal", "gateway.docker.internal", "host.containers.internal", "router.lan", "nas.home.arpa",
    "printer.local", "wpad", "intranet", "db.corp", "db.home", "db.intranet", "db.private",
]  # fmt: skip
# One text, two readings: what comes before the @, a backslash, a control character, a second port, a fragment.
TWO_READINGS = [
    "http://shop.kz@127.0.0.1:{port}/", "http://shop.kz:80@127.0.0.1:{port}/", "http://127.0.0.1:{port}@shop.kz/",
    "http://shop.kz%40127.0.0.1:{port}/", "http://shop.kz\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\@shop.kz/",
    "http://shop.kz\\.127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}/", "http:/\\127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@shop.kz/", "http://shop.kz#@127.0.0.1:{port}/", "http://127.0.0.1:{port}?@shop.kz/",
    "http://127.0.0.1:{port}:80/", "http://127.0.0.1:80:{port}/", "http://127.0.0.1 :{port}/",
    "http://127.0.0.1\t:{port}/", "http://127.0.0.1\n:{port}/", "http://127.0.0.1\r\nHost:shop.kz:{port}/",
    "http://127.0.0.1\x00.shop.kz:{port}/", "http://shop.kz\x00@127.0.0.1:{port}/", " http://127.0.0.1:{port}/",
    "\x01http://127.0.0.1:{port}/", "http://127.0.0.1,shop.kz:{port}/", "http://127.0.0.1;shop.kz:{port}/",
    "http://127.0.0.1&@shop.kz:{port}/", "http://[::1]@shop.kz:{port}/", "http://[::1]shop.kz:{port}/",
    "http://[::1]:{port}:80/", "http://[::1%25lo]:{port}/", "http://[::1%lo]:{port}/", "http://[fe80::1%25eth0]:{port}/",
    "http://[fe80::1%eth0]:{port}/", "http://[fe80::1%1]:{port}/", "http://[v1.127.0.0.1]:{port}/",
    "http://::1:{port}/", "http://[127.0.0.1]:{port}/", "http://[::1:{port}/", "http://::ffff:127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "http:///127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "127.0.0.1:{port}/", "http://[::ffff:127.0.0.1%25lo]:{port}/", "http://127.0.0.1%2f.shop.kz:{port}/",
    "http://127.0.0.1%23.shop.kz:{port}/", "http://127.0.0.1%3f.shop.kz:{port}/", "http://127.0.0.1%252e:{port}/",
    "http://shop.kz:{port}@[::1]/", "http://u:p@localhost:{port}/", "ftp://127.0.0.1:{port}/", "ws://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET", "dict://127.0.0.1:{port}/info", "file://127.0.0.1/etc/passwd",
    "ldap://127.0.0.1:{port}/", "jar:http://127.0.0.1:{port}/!/", "url:http://127.0.0.1:{port}/",
    "http+unix://%2Frun%2Fdocker.sock/", "unix:///run/docker.sock", "data:text/html,127.0.0.1",
    "http://127.0.0.1:{port}0000/", "http://127.0.0.1:-{port}/", "http://127.0.0.1:+{port}/", "http://127.0.0.1:0/",
]  # fmt: skip
# Names that anybody can look up, and where they lead.
WELL_KNOWN_NAMES = {
    "localtest.me": ["127.0.0.1", "::1"], "lvh.me": ["127.0.0.1"], "127.0.0.1.nip.io": ["127.0.0.1"],
    "127-0-0-1.sslip.io": ["127.0.0.1"], "customer1.app.localhost.my.company.127.0.0.1.nip.io": ["127.0.0.1"],
    "0x7f000001.nip.io": ["127.0.0.1"], "spoofed.burpcollaborator.net": ["127.0.0.1"], "fbi.com": ["127.0.0.1"],
    "make-127-0-0-1-rr.1u.ms": ["127.0.0.1"], "metadata.goog": ["169.254.169.254"],
    "169.254.169.254.nip.io": ["169.254.169.254"], "metadata.tencentyun.com": ["169.254.0.23"],
    "metadata.packet.net": ["192.80.8.124", "10.0.0.1"], "10-0-0-1.example.kz": ["10.0.0.1"],
    "ip6.example.kz": ["::1"], "mapped.example.kz": ["::ffff:127.0.0.1"], "nat64.example.kz": ["64:ff9b::7f00:1"],
    "wire.example.kz": ["168.63.129.16"], "alibaba.example.kz": ["100.100.100.200"],
    "ula.example.kz": ["fd00:ec2::254"],
    "xn--80aaxitdbjk.xn--p1ai": ["192.168.0.1"], "дүкен.қаз": ["172.16.0.1"], "shop.kz.": ["127.0.0.1"],
    "zero.example.kz": ["0.0.0.0"], "all.example.kz": ["::"], "cast.example.kz": ["255.255.255.255"],
}  # fmt: skip


def spellings(address: str) -> Iterator[str]:
    """An IPv4 address as inet_aton, browsers, IDNA and careless parsers read it; not the plain spelling."""
    a, b, c, d = IPv4Address(address).packed
    whole = int(IPv4Address(address))
    yield from (f"{whole}", f"0x{whole:x}", f"0X{whole:08X}", f"0{whole:o}", f"{whole}.", f"00{whole}")
    yield from (f"{a}.{whole & 0xFFFFFF}", f"{a}.{b}.{whole & 0xFFFF}", f"0x{a:x}.{whole & 0xFFFFFF}")
    yield from (f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"000{a:o}.{b}.{c}.{d}")
    yield from (
        f"{a:03}.{b:03}.{c:03}.{d:03}",
        f"{a}.{b}.{c}.0x{d:x}",
        f"{a}.{b}.{c}.0{d:o}",
        f"0x{a:x}.{b}.0{c:o}.{d}",
    )
    yield from (f"{address}.", f"{address}..", f".{address}", f"{address.replace('.', '%2e')}", f"{a}.{b}.{c}.{d}.0")
    yield from (f"{a + 256}.{b}.{c}.{d}", f"{whole + 2**32}", f"-{whole}", f"+{whole}")
    yield from (address.replace(".", dot) for dot in "。．｡")
    yield "".join(chr(ord(one) - ord("0") + ord("０")) if one.isdigit() else one for one in address)
    yield "".join("⓪①②③④⑤⑥⑦⑧⑨"[int(one)] if one.isdigit() else one for one in address)
    yield "".join(chr(ord(one) - ord("0") + ord("٠")) if one.isdigit() else one for one in address)
    yield "".join(chr(ord(one) - ord("0") + 0x1D7CE) if one.isdigit() else one for one in address)
    yield "".join(f"%{ord(one):02x}" for one in address)
    yield f"{address[0]}\u00ad{address[1:]}"  # a soft hyphen, which IDNA drops


def carriers(address: str) -> Iterator[str]:
    """IPv6 forms that end up at an IPv4 address: mapped, compatible, translated, NAT64, 6to4, Teredo."""
    four = IPv4Address(address)
    high, low = int(four) >> 16, int(four) & 0xFFFF
    yield from (
        f"::ffff:{four}",
        f"::FFFF:{high:x}:{low:x}",
        f"0:0:0:0:0:ffff:{four}",
        f"::{four}",
        f"::{high:x}:{low:x}",
    )
    yield from (f"::ffff:0:{four}", f"64:ff9b::{four}", f"64:ff9b::{high:x}:{low:x}", f"0064:ff9b:0:0:0:0:{four}")
    yield from (f"64:ff9b:1::{four}", f"64:ff9b:1:ffff::{high:x}:{low:x}", f"64:ff9b:1:{high:x}:{low:x}::")
    yield from (f"2002:{high:x}:{low:x}::", f"2002:{high:x}:{low:x}::1", f"2001:0:{high:x}:{low:x}::")
    yield f"2001:0:0808:0808:0:0:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"


def own_addresses() -> list[str]:
    """This machine's own, as far as they are not public: by another table than the one under test."""
    found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    with open("/proc/net/if_inet6", encoding="ascii") as lines:
        found |= {str(IPv6Address(bytes.fromhex(line.split()[0]))) for line in lines}
    return sorted(one for one in found if not ipaddress.ip_address(one).is_global)


def hostile_urls(port: int) -> list[str]:
    """All of them, for a listener on `port`, none twice."""
    six = [*INNER_V6, *(one for four in CARRIED for one in carriers(four))]
    hosts = [*INNER_V4, *LOCAL_NAMES, *(one for four in SPELLED for one in spellings(four))]
    for own in own_addresses():
        (six if ":" in own else hosts).append(own)
    hosts += [f"[{one}]" for one in six]
    urls = [f"http://{host}:{port}/hook" for host in hosts]
    return list(dict.fromkeys([*urls, *(shape.replace("{port}", str(port)) for shape in TWO_READINGS)]))


class Watch:
    """What this test's own tasks and threads did: `dials` (host, port), refused where they leave the machine; names."""

    def __init__(self) -> None:
        self.dials: list[tuple[str, int]] = []
        self.lookups: list[str] = []


_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


def _audit(event: str, args: tuple[object, ...]) -> None:
    if not event.startswith("socket.") or (watch := _WATCH.get()) is None:
        return
    if event == "socket.getaddrinfo":
        watch.lookups.append(str(args[0]))
    if event in {"socket.connect", "socket.sendto"}:
        host, port = args[1][:2]  # type: ignore[index]  # an address
        watch.dials.append((host, port))
        if not ipaddress.ip_address(host).is_loopback:
            raise ConnectionRefusedError("no packet of this test leaves the machine")


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[Watch]:
    """Sees every connect(2) and sendto(2) of Python's own sockets before it happens, and every getaddrinfo."""
    watch = Watch()
    token = _WATCH.set(watch)
    try:
        yield watch
    finally:
        _WATCH.reset(token)
