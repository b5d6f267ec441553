"""TLS settings against real TLS sockets; the far side only shakes hands, so each connect ends unreachable."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.secrets import KeyRing
from runtime.settings import Temporal, load
from runtime.temporal import TemporalUnreachable, connect

RING = KeyRing("k1", {"k1": bytes(32)})


class Authority:
    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.pem, _ = self._sign(self.name, self.key, ca=True)

    def issue(self, name: str) -> tuple[str, str]:
        """Certificate and key, as PEM texts."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, ca=False)

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> tuple[str, str]:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


class Doorman:
    """Asks for a client certificate, notes whose it is, hangs up."""

    def __init__(self) -> None:
        self.port = 0
        self.guests: list[str] = []

    async def greet(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert") or {}
        self.guests.append(str(certificate.get("subject")))
        writer.transport.abort()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def doorman(authority: Authority, tmp_path: Path) -> AsyncIterator[Doorman]:
    certificate, key = authority.issue("temporal")
    (tmp_path / "server.pem").write_text(certificate + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.pem)
    context.load_cert_chain(tmp_path / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    doorman = Doorman()
    server = await asyncio.start_server(doorman.greet, "127.0.0.1", 0, ssl=context)
    doorman.port = server.sockets[0].getsockname()[1]
    async with server:
        yield doorman


def settings(port: int, **more: str) -> Temporal:
    environ = {"TOLEM_TEMPORAL_ADDRESS": f"127.0.0.1:{port}", "TOLEM_TEMPORAL_TLS": "true", **more}
    return load(Temporal, environ=environ)[Temporal]


async def test_the_client_shows_its_certificate_and_trusts_the_given_authority(
    authority: Authority, doorman: Doorman
) -> None:
    certificate, key = authority.issue("tolem worker")
    with pytest.raises(TemporalUnreachable):
        await connect(
            settings(
                doorman.port,
                TOLEM_TEMPORAL_CLIENT_CERT=certificate,
                TOLEM_TEMPORAL_CLIENT_KEY=key,
                TOLEM_TEMPORAL_SERVER_CA=authority.pem,
            ),
            RING,
        )
    assert doorman.guests
    assert all("tolem worker" in guest for guest in doorman.guests)


async def test_a_server_of_another_authority_is_not_trusted(authority: Authority, doorman: Doorman) -> None:
    certificate, key = authority.issue("tolem worker")
    with pytest.raises(TemporalUnreachable):
        await connect(
            settings(
                doorman.port,
                TOLEM_TEMPORAL_CLIENT_CERT=certificate,
                TOLEM_TEMPORAL_CLIENT_KEY=key,
                TOLEM_TEMPORAL_SERVER_CA=Authority().pem,
            ),
            RING,
        )
    assert doorman.guests == []


async def test_tls_is_really_spoken(bare_temporal: Temporal) -> None:
    await connect(bare_temporal, RING)
    port = int(bare_temporal.address.rpartition(":")[2])
    with pytest.raises(TemporalUnreachable):
        await connect(settings(port), RING)
