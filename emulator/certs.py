"""Makes the bank's CA, its server certificate and the partners' client certificates. Test material only."""

import datetime
import ipaddress
import os
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEMO_PARTNER: Final = "partner.demo.example"
PFX_PASSPHRASE: Final = b"emulator"
_CA_NAME: Final = "Kaspi emulator root CA"
_YEARS: Final = 5  # as the bank's own (fact sheet §1)


def ensure(directory: Path) -> None:
    """Writes what is missing: ca.pem ca.key server.pem server.key client.pem client.key client.pfx.

    A second call changes nothing. Key files get mode 0600.
    """
    directory.mkdir(parents=True, exist_ok=True)
    ca_certificate, ca_key = _ensure_ca(directory)
    if not _complete(directory, "server.pem", "server.key"):
        certificate, key = _issue(ca_certificate, ca_key, "localhost", ExtendedKeyUsageOID.SERVER_AUTH)
        _write_pair(directory, "server", certificate, key)
    ensure_partner(directory, DEMO_PARTNER, "client")


def ensure_partner(directory: Path, common_name: str, stem: str) -> None:
    """A client certificate for one more partner: <stem>.pem, <stem>.key, <stem>.pfx (passphrase "emulator")."""
    if _complete(directory, f"{stem}.pem", f"{stem}.key", f"{stem}.pfx"):
        return
    ca_certificate, ca_key = _ensure_ca(directory)
    certificate, key = _issue(ca_certificate, ca_key, common_name, ExtendedKeyUsageOID.CLIENT_AUTH)
    _write_pair(directory, stem, certificate, key)
    pfx = pkcs12.serialize_key_and_certificates(
        common_name.encode(), key, certificate, [ca_certificate], BestAvailableEncryption(PFX_PASSPHRASE)
    )
    _write_private(directory / f"{stem}.pfx", pfx)


def _complete(directory: Path, *names: str) -> bool:
    return all((directory / name).exists() for name in names)


def _ensure_ca(directory: Path) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    if _complete(directory, "ca.pem", "ca.key"):
        key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("ca.key is not an RSA key")
        return x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes()), key
    # Leaves of an older CA would not verify against the new one.
    for leaf in ("server", "client"):
        (directory / f"{leaf}.pem").unlink(missing_ok=True)
    key = rsa.generate_private_key(65537, 2048)
    certificate = (
        _builder(_CA_NAME, _CA_NAME, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_pair(directory, "ca", certificate, key)
    return certificate, key


def _issue(
    ca_certificate: x509.Certificate, ca_key: rsa.RSAPrivateKey, common_name: str, purpose: x509.ObjectIdentifier
) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    key = rsa.generate_private_key(65537, 2048)
    builder = (
        _builder(common_name, _CA_NAME, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_certificate.public_key()),  # type: ignore[arg-type]  # the CA is ours, always RSA
            critical=False,
        )
    )
    if purpose == ExtendedKeyUsageOID.SERVER_AUTH:
        names = [
            x509.DNSName("localhost"),
            x509.DNSName("emulator"),  # the service's name inside docker-compose
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256()), key


def _builder(subject: str, issuer: str, key: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=not ca,
        key_encipherment=not ca,
        data_encipherment=not ca,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pair(directory: Path, stem: str, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> None:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_private(directory / f"{stem}.key", private)
    _write(directory / f"{stem}.pem", certificate.public_bytes(Encoding.PEM), 0o644)


def _write_private(path: Path, content: bytes) -> None:
    _write(path, content, 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all: a start that is killed half-way must not leave half a key behind."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.touch(mode=mode)
    partial.write_bytes(content)
    partial.replace(path)
