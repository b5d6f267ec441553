"""A raw bank per test over one set of certificates."""

import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kaspi.client import KaspiClient, KaspiConfig, Scheme, tls_context
from tests.kaspi.pki import Authority, Leaf
from tests.kaspi.rawbank import RawBank, running, server_tls

BIN = "123456789012"
API_KEY = "test_0b8f9a54-0000-4000-8000-000000000000"

ConfigFor = Callable[..., KaspiConfig]


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority("Bank CA of the tests")


@pytest.fixture(scope="session")
def client_leaf(authority: Authority) -> Leaf:
    return authority.issue("partner.example")


@pytest.fixture(scope="session")
def bank_tls(authority: Authority) -> ssl.SSLContext:
    return server_tls(authority.issue("localhost"))


@pytest.fixture
async def bank(bank_tls: ssl.SSLContext) -> AsyncIterator[RawBank]:
    async with running(bank_tls) as raw:
        yield raw


@pytest.fixture(scope="session")
def config_for(authority: Authority, client_leaf: Leaf) -> ConfigFor:
    """`config_for(Scheme.R3, url, **changes)`: a config that works, but for the changes."""

    def make(scheme: Scheme, url: str, **changes: Any) -> KaspiConfig:
        fields: dict[str, Any] = {"trust_pem": authority.pem}
        if scheme is Scheme.R1:
            fields["api_key"] = API_KEY
        else:
            fields |= {"certificate_pem": client_leaf.pem, "private_key_pem": client_leaf.key_pem()}
        if scheme is Scheme.R3:
            fields["organization_bin"] = BIN
        return KaspiConfig(scheme=scheme, base_url=url, **(fields | changes))

    return make


@pytest.fixture(scope="session")
def r3_tls(config_for: ConfigFor) -> ssl.SSLContext:
    """Building one costs tens of milliseconds, so the tests share it, as the code is meant to."""
    return tls_context(config_for(Scheme.R3, "https://127.0.0.1/r3/v01"))


@pytest.fixture
async def r3(bank: RawBank, config_for: ConfigFor, r3_tls: ssl.SSLContext) -> AsyncIterator[KaspiClient]:
    async with KaspiClient(config_for(Scheme.R3, bank.url("r3")), tls=r3_tls) as client:
        yield client
