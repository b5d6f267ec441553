"""The TLS side of a connection: our certificate, their certificate, and keys that never rest on a disk."""

import os
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)

from domain.bank import Scheme
from kaspi.config import KaspiConfig, config_problems
from kaspi.errors import KaspiMisconfigured

CONFIG = "config"
"""The `call` of errors that come from a configuration and not from a call."""


class _Identity(msgspec.Struct):
    key: PrivateKeyTypes
    chain: list[x509.Certificate]


def tls_context(config: KaspiConfig) -> ssl.SSLContext:
    """Checks the whole config and builds its TLS context: TLS 1.2 or newer, verification always on.

    `KaspiMisconfigured` names every problem at once. Building costs tens of milliseconds (the system's CAs), so
    make one per config and share it between that config's clients.
    """
    problems = config_problems(config)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.trust_pem:
        try:
            context.load_verify_locations(cadata=config.trust_pem)
        except (ssl.SSLError, ValueError):
            problems.append("trust_pem holds no readable PEM certificates")
    if config.scheme is not Scheme.R1:
        identity = _read_identity(config, problems)
        if identity is not None:
            _load_identity(context, identity, problems)
    if problems:
        raise KaspiMisconfigured(CONFIG, "invalid_configuration", problems=tuple(problems))
    return context


def _read_identity(config: KaspiConfig, problems: list[str]) -> _Identity | None:
    if config.pfx:
        return _read_pfx(config.pfx, config.pfx_password, problems)
    chain = _read_chain(config.certificate_pem, problems)
    key = _read_key(config.private_key_pem, config.private_key_password, problems)
    if not chain or key is None:
        return None
    return _matching(key, chain, problems)


def _read_pfx(pfx: bytes, password: str | None, problems: list[str]) -> _Identity | None:
    try:
        key, leaf, rest = pkcs12.load_key_and_certificates(pfx, password.encode() if password else None)
    except ValueError:
        problems.append("pfx cannot be opened: damaged, or pfx_password is wrong")
        return None
    if key is None or leaf is None:
        problems.append("pfx must hold a certificate and its private key")
        return None
    return _matching(key, [leaf, *rest], problems)


def _read_chain(pem: str | None, problems: list[str]) -> list[x509.Certificate]:
    if not pem:
        return []
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        problems.append("certificate_pem holds no readable PEM certificate")
        return []


def _read_key(pem: str | None, password: str | None, problems: list[str]) -> PrivateKeyTypes | None:
    if not pem:
        return None
    # A passphrase given for a plain key is forgiven: operators swap keys, and nothing is less safe for it.
    encrypted = "ENCRYPTED" in pem
    if encrypted and not password:
        problems.append("private_key_pem is encrypted: private_key_password is missing")
        return None
    try:
        return load_pem_private_key(pem.encode(), password.encode() if encrypted and password else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        problems.append("private_key_pem cannot be read: damaged, or private_key_password is wrong")
        return None


def _matching(key: PrivateKeyTypes, chain: list[x509.Certificate], problems: list[str]) -> _Identity | None:
    shape = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*shape) != chain[0].public_key().public_bytes(*shape):
        problems.append("the private key does not belong to the (first) certificate")
        return None
    return _Identity(key, chain)


def _load_identity(context: ssl.SSLContext, identity: _Identity, problems: list[str]) -> None:
    password = secrets.token_urlsafe(32)
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in identity.chain)
    pem += identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    with _as_file(pem) as path:
        try:
            context.load_cert_chain(path, password=password)
        except ssl.SSLError:
            problems.append("OpenSSL refuses the client certificate or its key")


@contextmanager
def _as_file(pem: bytes) -> Iterator[str]:
    """A path for `load_cert_chain`, which reads only files. It lives in memory where the system can do that; in
    either case its key is encrypted with a password that nobody ever learns, so a crash leaves nothing behind.
    """
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("kaspi-identity", os.MFD_CLOEXEC)
        try:
            os.write(handle, pem)
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
    else:
        with tempfile.NamedTemporaryFile() as file:  # readable by its owner only
            file.write(pem)
            file.flush()
            yield file.name
