"""Takes personal data and secrets out of what is about to be logged: by field name, by type, by pattern."""

import dataclasses
import re
from collections.abc import Mapping
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import msgspec

HIDDEN: Final = "***"
PHONE: Final = "[phone]"
_MAX_DEPTH: Final = 6

# Any field whose name holds one of these, however it is spelled: device_token, X-API-Key, payerPhone.
_NAME_PART: Final = re.compile(
    "phone|msisdn|password|passwd|secret|token|apikey|privatekey|authorization|cookie|credential|email"
)
# Names and free text of people, which no pattern can recognise; only these exact names.
_NAMES: Final = frozenset(
    {
        *("name", "clientname", "customername", "payername", "buyername"),
        *("fullname", "firstname", "lastname", "middlename", "fio", "iin"),
        *("comment", "comments", "description", "note", "notes", "freetext", "pem"),
    }
)

# A longer text loses its middle: the head says what happened, the tail of a traceback says where.
_MAX_TEXT: Final = 32_768

# Runs are bounded or possessive throughout: merchants and receivers write into our logs, and a pattern that
# backtracks over their text would stop the process.
_SEPARATORS = r"[ \t\u00a0()-]{0,3}"
_QUOTED = r"""b?(?:"(?:\\.|[^"\\])*+"|'(?:\\.|[^'\\])*+')"""
# Lower-case needles, one of which must stand in the text for the pattern to be tried; then the replacement.
_RULES: Final[tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...]] = (
    (("tk_",), re.compile(r"\btk_(live|test)_[0-9A-Za-z]+"), r"tk_\1_" + HIDDEN),
    (("whsec_",), re.compile(r"\bwhsec_[0-9A-Za-z+/=_-]+"), "whsec_" + HIDDEN),
    # As a header line, in a dict's repr, in a tuple of bytes: the whole value, spaces too.
    (
        ("authorization", "x-api-key", "cookie"),
        re.compile(r"""(?i)((?:authorization|x-api-key|cookie)["']?\s{0,5}[:=,]\s{0,5}b?["']?)[^"'\r\n}\])]+"""),
        r"\1" + HIDDEN,
    ),
    # What fields are hidden by name is hidden in text too: JSON, reprs, query strings. Names only if quoted.
    (
        (":", "="),
        re.compile(
            r"(?i)((?:passw(?:or)?d|secret|token|api[_-]?key|private_?key|credential)[\w-]{0,40}"
            rf"[\"']?\s{{0,5}}[:=]\s{{0,5}})(?![\"']?\*\*\*)(?:{_QUOTED}|[^\s\"'&,;)}}\]]+)"
        ),
        r"\1" + HIDDEN,
    ),
    (
        (":", "="),
        re.compile(
            r"(?i)\b((?:(?:client|customer|payer|buyer|full|first|last|middle)_?)?(?:name|fio|comment|description)"
            rf"[\"']?\s{{0,5}}[:=]\s{{0,5}}){_QUOTED}"
        ),
        r"\1" + HIDDEN,
    ),
    (("bearer", "basic"), re.compile(r"(?i)\b(bearer|basic)\s{1,5}[0-9A-Za-z._~+/=-]{8,}"), r"\1 " + HIDDEN),
    # Up to the last @ of the word: an unescaped password may hold one, or a slash.
    (
        ("://",),
        re.compile(r"://([^\s:/@\"'<>]{0,200}+):(?:[^\s\"'<>@]{0,2000}+@)+"),
        rf"://\1:{HIDDEN}@",
    ),
    (
        ("-----begin",),
        re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL),
        "[pem]",
    ),
    # Database drivers repeat the row: SQLAlchemy its parameters, Postgres the values of the failing row.
    (("[parameters: ",), re.compile(r"\[parameters: .*"), f"[parameters: {HIDDEN}]"),
    (("detail: ",), re.compile(r"\bDETAIL: .*"), f"DETAIL: {HIDDEN}"),
    (("+",), re.compile(r"\+[0-9]{10,15}(?![0-9])"), PHONE),
    # Eleven digits from 7 or 8, or a Kazakhstan mobile of ten, in the usual groups. A digit and a dot before
    # it make a decimal fraction, not a number to dial. The look-behinds come after the first character, so
    # that the search can leap from one possible first character to the next.
    (
        ("7",),
        re.compile(
            r"[+(78](?<![0-9][+(78])(?<![0-9]\.[+(78])"
            rf"(?:(?<=7)|(?<=\()7|(?:(?<=[78])|(?<=\+)[78]){_SEPARATORS}[3479])[0-9]{{2}}{_SEPARATORS}[0-9]{{3}}"
            rf"{_SEPARATORS}[0-9]{{2}}{_SEPARATORS}[0-9]{{2}}(?![0-9])"
        ),
        PHONE,
    ),
)
# Flat, because the loop over it runs for every text of every event.
_BY_NEEDLE: Final = tuple(
    (needle, pattern, replacement) for needles, pattern, replacement in _RULES for needle in needles
)
_PHONE_INTEGER = re.compile(r"[78][3479][0-9]{9}")


def mask_text(text: str) -> str:
    """The text without phone numbers, keys, credentials, passwords in URLs, PEM blocks, database rows.

    The middle of a text of more than 32 768 characters is left out.
    """
    if len(text) > _MAX_TEXT:
        text = f"{text[: _MAX_TEXT // 2]} …[cut]… {text[-_MAX_TEXT // 2 :]}"
    lowered = text.lower()
    for needle, pattern, replacement in _BY_NEEDLE:
        if needle in lowered:
            text = pattern.sub(replacement, text)
    return text


def mask_value(name: str, value: Any, depth: int = 0) -> Any:
    """A field's value as plain JSON types with everything private hidden; unknown types become masked text."""
    if value is None or isinstance(value, bool):
        return value
    if _is_private(name):
        return HIDDEN
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str | bytes | bytearray | int | float | date):
        return _mask_scalar(value)
    return _mask_composite(name, value, depth) if depth < _MAX_DEPTH else "…"


def _mask_scalar(value: str | bytes | bytearray | float | date) -> str | int | float:
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, date):
        return value.isoformat()
    return PHONE if isinstance(value, int) and _PHONE_INTEGER.fullmatch(str(value)) else value


def _mask_composite(name: str, value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {mask_text(str(key)): mask_value(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        pair = _header(value)
        if pair is not None:
            return [mask_text(pair[0]), mask_value(*pair, depth + 1)]
        return [mask_value(name, item, depth + 1) for item in value]
    fields = _fields(value)
    if fields is not None:
        return {field: mask_value(field, getattr(value, field, None), depth + 1) for field in fields}
    try:
        return mask_text(str(value))
    except Exception:
        # A log line must not die of a broken __str__.
        return f"[unprintable {type(value).__name__}]"


def _header(value: Any) -> tuple[str, Any] | None:
    """ASGI and httpx carry headers as pairs, so the first half is the field's name."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str | bytes):
        first = value[0].decode("latin-1") if isinstance(value[0], bytes) else value[0]
        return first, value[1]
    return None


def _fields(value: Any) -> tuple[str, ...] | None:
    """Field by field, so that names count; a class with a repr of its own knows better what to show."""
    if isinstance(value, msgspec.Struct):
        own = type(value).__repr__ is not msgspec.Struct.__repr__
        return None if own else value.__struct_fields__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in dataclasses.fields(value) if field.repr)
    return None


@lru_cache(maxsize=1024)
def _is_private(name: str) -> bool:
    plain = name.lower().replace("_", "").replace("-", "")
    return plain in _NAMES or _NAME_PART.search(plain) is not None
