import pytest

from webhooks.addresses import REFUSED_ADDRESSES
from webhooks.errors import UrlRefused
from webhooks.guard import EgressRules, Route, check_url, route_of

STRICT = EgressRules()

# Hosts that are, in one spelling or another, an inner address.
INNER_HOSTS = [
    "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "017700000001", "0177.0.0.1", "0x7f000001",
    "0x7f.0.0.1", "0x7F.1", "127.0.0.0x1", "127.0.0.01", "0", "0.0.0.0", "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1",
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "169.254.170.2", "2852039166",
    "0xa9fea9fe", "168.63.129.16", "100.100.100.200", "192.0.0.192", "192.0.0.9", "224.0.0.1", "239.255.255.250",
    "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "203.0.113.7", "192.88.99.1",
    "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::127.0.0.1]", "[::7f00:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::ffff:8.8.8.8]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::808:808]", "[64:ff9b:1::1]",
    "[2002:7f00:1::]", "[2002:808:808::]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[fe80::1]", "[fe80::1%25eth0]",
    "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]", "[100::1]", "[5f00::1]", "[1000::1]",
    "[4000::1]",
    "localhost", "LOCALHOST", "localhost.", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "foo.localhost", "printer.local", "db.internal",
    "metadata.google.internal", "nas.home.arpa", "postgres", "%6c%6f%63%61%6c%68%6f%73%74", "127.0.0.1%00.shop.kz",
]  # fmt: skip

WRONG_SHAPES = [
    "", "shop.kz/hook", "//shop.kz/hook", "https://", "https:///hook", "https:/shop.kz", "https:shop.kz",
    "ftp://shop.kz/", "file:///etc/passwd", "gopher://shop.kz/", "javascript:alert(1)", "unix:///run/docker.sock",
    "https://user@shop.kz/", "https://user:pass@shop.kz/", "https://shop.kz@127.0.0.1/", "https://@shop.kz/",
    "https://shop.kz/#part", "https://shop.kz/hook#", "https://shop.kz#@127.0.0.1/",
    "https://shop.kz\\@127.0.0.1/", "https://shop.kz/a\\b", "https://shop.kz/a b", " https://shop.kz/",
    "https://shop.kz/\n", "https://sh\top.kz/", "https://shop.kz/\x00", "https://shop.kz/\r\nX-Evil:1",
    "https://shop.kz:0/", "https://shop.kz:65536/", "https://shop.kz:http/", "https://shop.kz:-1/",
    "https://shop..kz/", "https://.kz/", "https://-shop-.kz/", "https://sh_op.kz/", "https://sho%70.kz/",
    "https://[::1/", "https://[shop.kz]/", "https://xn--a/", "https://straße.kz/", "https://\ud800.kz/",
    "https://" + "a" * 64 + ".kz/", "https://" + "a." * 130 + "kz/", "https://shop.kz/" + "a" * 2048,
]  # fmt: skip


@pytest.mark.parametrize("host", INNER_HOSTS)
@pytest.mark.parametrize("shape", ["https://{}/hook", "https://{}:8443/hook", "http://{}/hook"])
def test_inner_hosts_are_refused_in_any_spelling(host: str, shape: str) -> None:
    rules = EgressRules(allow_http=True, allowed_hosts=frozenset({"allowed.kz", "10.9.9.9:1"}))
    with pytest.raises(UrlRefused):
        check_url(shape.format(host), rules)


@pytest.mark.parametrize("url", WRONG_SHAPES)
def test_wrong_shapes_are_refused_with_a_sentence_that_does_not_repeat_them(url: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        check_url(url, STRICT)
    assert caught.value.reason.endswith(".")
    assert caught.value.__cause__ is None
    if len(url) > 10:
        assert url not in caught.value.reason


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://shop.kz/", "start with https"),
        ("http://shop.kz/", "plain http"),
        ("https://user:pass@shop.kz/", "user name"),
        ("https://shop.kz/#a", "after #"),
        ("https://shop.kz:99999/", "port"),
        ("https://", "no host"),
        ("https://10.1.2.3/", "Private-Use"),
        ("https://169.254.169.254/", "metadata"),
        ("https://2130706433/", "four decimal numbers"),
        ("https://0x7f.1/", "four decimal numbers"),
        ("https://localhost/", "local to a network"),
        ("https://straße.kz/", "two ways"),
    ],
)
def test_the_reason_says_what_to_change(url: str, words: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        check_url(url, STRICT)
    assert words in caught.value.reason


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.kz", "https://shop.kz/hook?key=a%20b&x=1", "https://SHOP.kz:8443/", "https://shop.kz./",
        "https://a-1.b.shop.com.kz/", "https://дүкен.қаз/хук", "https://xn--d1acon18c.xn--80ao21a/",
        "https://8.8.8.8/", "https://[2606:4700::1111]:9443/", "https://1e100.net/", "https://shop.kz/" + "a" * 2000,
    ],
)  # fmt: skip
def test_public_https_is_fine(url: str) -> None:
    check_url(url, STRICT)
    assert route_of(url, STRICT) is Route.PUBLIC


def test_plain_http_is_for_sandbox_endpoints_and_where_it_is_allowed() -> None:
    assert route_of("http://shop.kz/", EgressRules(allow_http=True)) is Route.PLAIN
    assert route_of("http://shop.kz/", STRICT, is_sandbox=True) is Route.PLAIN
    assert route_of("https://shop.kz/", STRICT, is_sandbox=True) is Route.PUBLIC
    check_url("http://shop.kz/", STRICT, is_sandbox=True)
    with pytest.raises(UrlRefused, match="sandbox"):
        check_url("http://shop.kz/", STRICT)


def test_a_sandbox_endpoint_gets_http_and_nothing_else_of_the_rules() -> None:
    for host in INNER_HOSTS:
        with pytest.raises(UrlRefused):
            check_url(f"http://{host}/", STRICT, is_sandbox=True)
    for url in WRONG_SHAPES:
        with pytest.raises(UrlRefused):
            check_url(url, STRICT, is_sandbox=True)


@pytest.mark.parametrize(
    ("entry", "url", "route"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000/", Route.ALLOWED),
        ("127.0.0.1:9000", "http://127.0.0.1:9001/", None),
        ("127.0.0.1:80", "http://127.0.0.1/", Route.ALLOWED),
        ("127.0.0.1:443", "https://127.0.0.1/", Route.ALLOWED),
        ("localhost", "http://LOCALHOST.:1234/", Route.ALLOWED),
        ("LocalHost.", "https://localhost/", Route.ALLOWED),
        ("merchant", "http://merchant:3000/", Route.ALLOWED),
        ("merchant", "http://merchant.shop.kz/", None),
        ("shop.kz", "http://evil-shop.kz/", None),
        ("shop.kz", "http://a.shop.kz/", None),
        ("[::1]:9000", "http://[0::1]:9000/", Route.ALLOWED),
        ("::1", "http://[::1]:9000/", Route.ALLOWED),
        ("[::1]:9000", "http://[::1]:9001/", None),
        ("127.0.0.1", "http://0x7f000001/", None),
        ("127.0.0.1", "http://user@127.0.0.1/", None),
        ("127.0.0.1", "ftp://127.0.0.1/", None),
    ],
)
def test_allowed_hosts_are_exact(entry: str, url: str, route: Route | None) -> None:
    rules = EgressRules(allowed_hosts=frozenset({entry}))
    if route is None:
        with pytest.raises(UrlRefused):
            route_of(url, rules)
    else:
        assert route_of(url, rules) is route


@pytest.mark.parametrize(
    "entry",
    ["", "*", "*.shop.kz", "http://shop.kz", "shop.kz/hook", "a@b", "shop.kz:0", "shop.kz:x", "shop.kz:99999", " a",
     "a?b"],
)  # fmt: skip
def test_an_entry_that_cannot_mean_a_host_stops_the_process(entry: str) -> None:
    with pytest.raises(ValueError, match=r"allowed_hosts|[Pp]ort"):
        EgressRules(allowed_hosts=frozenset({entry}))


def test_what_is_public_stays_callable() -> None:
    for address in ("8.8.8.8", "1.1.1.1", "2.72.0.1", "92.46.0.1", "2606:4700::1111", "2a00:1450::1", "2001:4860::1"):
        assert not REFUSED_ADDRESSES.classify(address).blocked, address
