"""A connection that can't work is refused at once, with every reason, and shows no secret."""

import os
import ssl
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kaspi.client import KaspiClient, KaspiConfig, Scheme, tls_context
from kaspi.errors import KaspiMisconfigured
from tests.kaspi.conftest import ConfigFor
from tests.kaspi.pki import Authority, Leaf

URL = "https://bank.example/r3/v01"


def problems_of(config: KaspiConfig) -> tuple[str, ...]:
    with pytest.raises(KaspiMisconfigured) as caught:
        tls_context(config)
    assert caught.value.reason == "invalid_configuration"
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize("scheme", list(Scheme))
def test_complete_configs_are_accepted(scheme: Scheme, config_for: ConfigFor) -> None:
    context = tls_context(config_for(scheme, f"https://bank.example/{scheme.value}/v01"))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_extra_trust_is_added_to_the_systems(config_for: ConfigFor, authority: Authority) -> None:
    alone = tls_context(config_for(Scheme.R1, "https://bank.example/r1/v01", trust_pem=None))
    more = tls_context(config_for(Scheme.R1, "https://bank.example/r1/v01", trust_pem=authority.pem))
    assert len(more.get_ca_certs()) == len(alone.get_ca_certs()) + 1


def test_every_problem_is_named_at_once() -> None:
    config = KaspiConfig(
        scheme=Scheme.R3, base_url="http://user:pw@bank.example/r2", trust_pem="x", read_timeout=0, max_connections=64
    )
    problems = problems_of(config)
    for word in (
        "https://",
        "credentials",
        "/v01",
        "another scheme",
        "client certificate",
        "organization_bin",
        "timeouts",
        "max_connections",
        "trust_pem",
    ):
        assert any(word in problem for problem in problems), word


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"certificate_pem": None}, "certificate_pem is missing"),
        ({"private_key_pem": None}, "private_key_pem is missing"),
        ({"certificate_pem": "rubbish"}, "certificate_pem holds no readable"),
        ({"private_key_pem": "rubbish"}, "private_key_pem cannot be read"),
        ({"private_key_pem": "-----BEGIN ENCRYPTED PRIVATE KEY-----"}, "private_key_password is missing"),
        ({"pfx": b"x"}, "not both"),
        ({"organization_bin": "12345678901"}, "12 digits"),
        ({"organization_bin": "１２３４５６７８９０１２"}, "12 digits"),
        ({"base_url": "https://bank.example:x/r3/v01"}, "not a URL"),
        ({"base_url": ""}, "https://"),
        ({"trust_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "trust_pem"),
    ],
)
def test_one_problem_each(config_for: ConfigFor, changes: dict[str, Any], word: str) -> None:
    good = config_for(Scheme.R3, URL)
    assert any(word in problem for problem in problems_of(msgspec.structs.replace(good, **changes)))


def test_a_key_of_another_certificate(config_for: ConfigFor, authority: Authority) -> None:
    other = authority.issue("somebody.else")
    problems = problems_of(config_for(Scheme.R2, "https://bank.example/r2/v01", private_key_pem=other.key_pem()))
    assert problems == ("the private key does not belong to the (first) certificate",)


def test_encrypted_keys_and_pfx(config_for: ConfigFor, client_leaf: Leaf) -> None:
    url = "https://bank.example/r2/v01"
    locked = client_leaf.key_pem("sesame")
    tls_context(config_for(Scheme.R2, url, private_key_pem=locked, private_key_password="sesame"))
    tls_context(config_for(Scheme.R2, url, private_key_password="not needed"))
    assert "wrong" in problems_of(config_for(Scheme.R2, url, private_key_pem=locked, private_key_password="x"))[0]
    no_pem = {"certificate_pem": None, "private_key_pem": None, "pfx": client_leaf.pfx("sesame")}
    tls_context(config_for(Scheme.R2, url, pfx_password="sesame", **no_pem))
    assert "pfx cannot be opened" in problems_of(config_for(Scheme.R2, url, pfx_password="x", **no_pem))[0]
    assert "pfx cannot be opened" in problems_of(config_for(Scheme.R2, url, **no_pem))[0]


@pytest.mark.parametrize("key", [None, "", "two words", "line\nbreak", "ключ"])
def test_an_api_key_must_fit_a_header(config_for: ConfigFor, key: str | None) -> None:
    assert "api_key" in problems_of(config_for(Scheme.R1, "https://bank.example/r1/v01", api_key=key))[0]


def test_a_client_refuses_a_bad_config_before_any_call() -> None:
    with pytest.raises(KaspiMisconfigured):
        KaspiClient(KaspiConfig(scheme=Scheme.R2, base_url=URL))


def test_no_secret_in_any_repr(config_for: ConfigFor, client_leaf: Leaf) -> None:
    config = config_for(
        Scheme.R3, URL, private_key_password="sesame", api_key="test_secret", pfx=b"pfxbytes", pfx_password="tajna"
    )
    rich = config.__rich_repr__()
    for text in (
        repr(config),
        str(config),
        f"{config}",
        repr(rich),
        str(KaspiMisconfigured("config", "x", problems=problems_of(config))),
    ):
        for secret in ("sesame", "test_secret", "pfxbytes", "tajna", "PRIVATE KEY"):
            assert secret not in text


@pytest.mark.parametrize("in_memory", [True, False])
def test_keys_leave_nothing_behind(
    config_for: ConfigFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create")
    handles = set(os.listdir("/proc/self/fd"))
    tls_context(config_for(Scheme.R3, URL))
    assert list(tmp_path.iterdir()) == []
    assert set(os.listdir("/proc/self/fd")) <= handles | {str(max(map(int, handles)) + 1)}
