"""What an environment variable's text may be: each parser says in its `ValueError` what to write instead."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from runtime.secrets import Secret

DAY_SECONDS = 86_400
SCHEDULE_END_SECONDS = 30 * DAY_SECONDS

_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def text(value: str) -> str:
    return value


def word(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
        raise ValueError("write 1-64 letters, digits, dots, - or _")
    return value


def flag(value: str) -> bool:
    try:
        return _FLAGS[value.lower()]
    except KeyError:
        raise ValueError("write true or false") from None


def choice(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in words:
            raise ValueError(f"write one of {', '.join(words)}")
        return value.lower()

    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """Both bounds are allowed values."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", value) or not low <= int(value) <= high:
            raise ValueError(f"write a whole number from {low} to {high}")
        return int(value)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """A duration with up to three decimals; both bounds are allowed values."""

    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", value) or not low <= float(value) <= high:
            raise ValueError(f"write seconds from {low:g} to {high:g}, such as 0.25 or 20")
        return float(value)

    return parse


def time_of_day(value: str) -> tuple[int, int]:
    """Hour and minute."""
    found = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", value)
    if not found:
        raise ValueError("write a time of day such as 03:30")
    return int(found[1]), int(found[2])


def address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or "/" in value or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError("write host:port, such as 127.0.0.1:7233")
    return value


def origin(value: str) -> str:
    """A web origin or base URL, without a slash at its end."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("write a URL such as https://pay.example.kz") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("write a URL such as https://pay.example.kz")
    if parts.query or parts.fragment:
        raise ValueError("write the URL without ? and #")
    return value.rstrip("/")


def bare_origin(value: str) -> str:
    """An origin as a browser sends it: scheme, host and port only."""
    parsed = origin(value)
    if urlsplit(parsed).path:
        raise ValueError("write scheme, host and port only, such as http://127.0.0.1:8233")
    return parsed


def names(value: str) -> tuple[str, ...]:
    """A comma list, lower-cased; empty places are ignored."""
    return tuple(part.strip().lower() for part in value.split(",") if part.strip())


def some_of(*words: str) -> Callable[[str], tuple[str, ...]]:
    """A comma list of at least one of `words`, each once, in the order of `words`."""

    def parse(value: str) -> tuple[str, ...]:
        given = set(names(value))
        if not given or not given <= set(words):
            raise ValueError(f"write a comma list of {', '.join(words)}")
        return tuple(one for one in words if one in given)

    return parse


def secret(shortest: int = 1) -> Callable[[str], Secret]:
    def parse(value: str) -> Secret:
        if len(value) < shortest:
            raise ValueError(f"it must have at least {shortest} characters")
        return Secret(value)

    return parse


def pem(value: str) -> Secret:
    if "-----BEGIN " not in value:
        raise ValueError("it must be PEM text (-----BEGIN …), best through its _FILE variable")
    return Secret(value)


def postgres_url(value: str) -> Secret:
    """The URL is kept as written; its password makes it a secret."""
    hint = "write postgresql+asyncpg://role:password@host:5432/database"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(hint) from None
    if parts.scheme not in ("postgresql+asyncpg", "postgresql") or len(parts.path) < 2:
        raise ValueError(hint)
    return Secret(value)


def proxy_url(value: str) -> Secret:
    """The URL is kept as written; its password makes it a secret."""
    hint = "write http://host:port or https://user:password@host:port, without a path"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(hint) from None
    shaped = parts.scheme in ("http", "https") and parts.hostname and port
    if not shaped or parts.path not in ("", "/") or parts.query or parts.fragment or not re.fullmatch("[!-~]+", value):
        raise ValueError(hint)
    return Secret(value)


def schedule(value: str) -> tuple[int, ...]:
    """Waits in seconds, each counted from the attempt before it.

    ``daily`` as the last entry repeats a day's wait for as long as all waits together stay within 30 days.
    """
    hint = "write waits in whole seconds such as 5,30,120, the last one may be daily"
    entries = [entry.strip().lower() for entry in value.split(",")]
    daily = entries[-1] == "daily"
    waits: list[int] = []
    for entry in entries[:-1] if daily else entries:
        if not re.fullmatch(r"[0-9]{1,7}", entry) or int(entry) < 1:
            raise ValueError(hint)
        waits.append(int(entry))
    if daily:
        waits += [DAY_SECONDS] * ((SCHEDULE_END_SECONDS - sum(waits)) // DAY_SECONDS)
    if sum(waits) > SCHEDULE_END_SECONDS:
        raise ValueError("all waits together must stay within 30 days (2592000 seconds)")
    return tuple(waits)
