"""The secrets of a development system: made once, kept in its state folder."""

import base64
import secrets
from pathlib import Path

import msgspec

from dev.private_file import write_private
from domain.merchant import Mode
from runtime.secrets import new_api_key


class DevSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """Key rings as `TOLEM_SEAL_KEYS` wants them, the codec endpoint's token, and the demo merchant's API keys."""

    seal_keys: str
    payload_keys: str
    codec_token: str
    test_key: str
    live_key: str

    def __repr__(self) -> str:
        return "DevSecrets(…)"


def load_or_make(path: Path) -> DevSecrets:
    """The secrets in `path`; fresh ones on first use."""
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=DevSecrets)
    made = DevSecrets(
        seal_keys=_key_ring(),
        payload_keys=_key_ring(),
        codec_token=secrets.token_urlsafe(24),
        test_key=new_api_key(Mode.TEST),
        live_key=new_api_key(Mode.LIVE),
    )
    write_private(path, msgspec.json.encode(made).decode())
    return made


def _key_ring() -> str:
    return "k1:" + base64.b64encode(secrets.token_bytes(32)).decode()
