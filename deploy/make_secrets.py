"""Makes the secrets that docker-compose.yml mounts: `python3 deploy/make_secrets.py`. Needs nothing but Python 3.

The folder is for its owner only; the files in it can be read by anyone who gets in, because Compose mounts them with
these modes into containers that run as another user.
"""

import base64
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

DATABASE = "postgres:5432/tolem"


def made() -> dict[str, str]:
    """Fresh values by file name. Passwords are hex, so that they stand in a URL as they are."""
    return {
        "postgres_password": secrets.token_hex(24),
        "temporal_password": secrets.token_hex(24),
        "owner_database_url": _url("tolem_owner"),
        "database_url": _url("tolem_app"),
        "operator_database_url": _url("tolem_operator"),
        "seal_keys": _key_ring(),
        "payload_keys": _key_ring(),
        "codec_token": secrets.token_urlsafe(32),
    }


def write(folder: Path, values: Mapping[str, str]) -> list[str]:
    """Writes what is missing and gives the names; the rest stays: what a lost key has sealed never opens again."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for name, value in values.items():
        try:
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
        written.append(name)
    return written


def _url(role: str) -> str:
    return f"postgresql+asyncpg://{role}:{secrets.token_hex(24)}@{DATABASE}"


def _key_ring() -> str:
    return "k1:" + base64.b64encode(secrets.token_bytes(32)).decode()


def main() -> None:
    """Into the folder given, by default `secrets` beside docker-compose.yml."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "secrets"
    written = write(folder, made())
    sys.stdout.write(f"{folder}: made {', '.join(written) if written else 'nothing, all are there'}\n")


if __name__ == "__main__":
    main()
