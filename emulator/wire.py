"""The bank's JSON: case-insensitive in, PascalCase out, always in an envelope (fact sheet §1)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import msgspec

from emulator import codes, money
from emulator.model import Organization, Scheme

_ALMATY: Final = timezone(timedelta(hours=5))
_INT64: Final = 2**63


class Caller(msgspec.Struct, frozen=True):
    """Who called and for which organisations it may act, by BIN."""

    scheme: Scheme
    organizations: dict[str, Organization]


class BankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call: `fields` holds the body or the query by lower-case name, `path_id` the last path segment."""

    caller: Caller
    call: str
    version: str
    path_id: str | None
    fields: Mapping[str, Any]
    x_request_id: str | None

    def optional_text(self, name: str) -> str | None:
        value = self.fields.get(name.lower())
        if value is None:
            return None
        # The guide itself types DeviceToken as a number in places (fact sheet §2.1).
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise codes.BadRequestError(name)
        text = str(value).strip()
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half a surrogate pair is valid JSON, but no text
            raise codes.BadRequestError(name) from error
        return text

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if not value:
            raise codes.BadRequestError(name)
        return value

    def optional_number(self, name: str) -> int | None:
        value = self.fields.get(name.lower())
        return None if value is None else _integer(name, value)

    def number(self, name: str) -> int:
        value = self.optional_number(name)
        if value is None:
            raise codes.BadRequestError(name)
        return value

    def path_number(self) -> int:
        return _integer("id", self.path_id)

    def amount_tiyn(self) -> int:
        """The Amount field. Raises RefusalError for a number that is no amount."""
        try:
            return money.tiyn(self.fields.get("amount"))
        except (TypeError, ValueError) as error:
            raise codes.BadRequestError("Amount") from error
        except ArithmeticError as error:
            raise codes.RefusalError(codes.WRONG_AMOUNT) from error


def read_body(raw: bytes) -> dict[str, Any]:
    """The body's fields by lower-case name; numbers keep their exact decimal value."""
    try:
        # Not msgspec: money must not pass through float on its way in.
        body = json.loads(raw, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise codes.BadRequestError("body") from error
    if not isinstance(body, dict):
        raise codes.BadRequestError("body")
    return {key.lower(): value for key, value in body.items()}


def moment(milliseconds: int) -> str:
    """As production prints it: 2025-10-22T17:10:50.717+05:00."""
    return (
        datetime.fromtimestamp(milliseconds // 1000, _ALMATY)
        .replace(microsecond=milliseconds % 1000 * 1000)
        .isoformat(timespec="milliseconds")
    )


def utc(milliseconds: int) -> str:
    """For the admin API: 2025-10-22T12:10:50.717Z."""
    moment_utc = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    return moment_utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def envelope(code: int, data: Any, turn: int) -> dict[str, Any]:
    """StatusCode with what production sometimes leaves out: `turn` (the call's number) decides, reproducibly."""
    answer: dict[str, Any] = {"StatusCode": code}
    if code != codes.OK or turn % 2:
        answer["Message"] = codes.MESSAGES.get(code, "Ошибка")
    if code != codes.OK and turn % 2:
        answer["Data"] = None
    elif code == codes.OK and data is not None:
        answer["Data"] = data
    return answer


def _integer(name: str, value: object) -> int:
    try:
        if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
            raise TypeError
        # Compared before int(): 1e999999999 would be a number of a billion digits.
        if isinstance(value, Decimal) and not -_INT64 <= value < _INT64:
            raise ValueError
        number = int(value)
        if isinstance(value, Decimal) and value != number:
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise codes.BadRequestError(name) from error
    if not -_INT64 <= number < _INT64:
        raise codes.BadRequestError(name)
    return number


def _no_constant(name: str) -> None:
    raise ValueError(name)
