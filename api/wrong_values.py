"""What is wrong with a value, said to people who write JSON: msgspec speaks of Python's types and names no choices."""

import re
from typing import Any, Final

import msgspec
from msgspec import inspect

from domain.errors import FieldError

_UNNAMED: Final = "..."  # msgspec's word for a value of an object whose name it doesn't tell
_PLACE: Final = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`$")
_STEP: Final = re.compile(r"\[(?P<index>\d+|\.\.\.)\]|\.(?P<name>[^.\[]+)")
_TYPE: Final = re.compile(r"Expected `(?P<wanted>[a-z |]+)`, got `(?P<given>[a-z]+)`")
_LIMIT: Final = re.compile(r"Expected `[a-z |]+` (?P<sign><=|>=|<|>) (?P<limit>\S+)")
_LENGTH: Final = re.compile(r"Expected `(?P<of>str|array|object)` of length (?P<sign><=|>=) (?P<limit>\d+)")
_FIELD: Final = re.compile(r"Object (?:missing required|contains unknown) field `(?P<name>.+)`")

_NAMES: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "datetime": "a time such as 2027-01-31T10:00:00+05:00",
    "date": "a day such as 2027-01-31",
}
_GIVEN: Final = _NAMES | {"bool": "a boolean", "float": "a number with decimals", "null": "null"}
_WORDS_ARE: Final = (["str"], ["int"])
_UNITS: Final = {"str": "characters", "array": "items", "object": "fields"}
_SIGNS: Final = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}
_RULES: Final = {
    "Invalid decimal string": f"must be {_NAMES['decimal']}",
    "Invalid RFC3339 encoded datetime": f"must be {_NAMES['datetime']}",
    "Invalid RFC3339 encoded date": f"must be {_NAMES['date']}",
    "Expected `datetime` with a timezone component": "must have a time zone, as 2027-01-31T10:00:00+05:00 has",
}


def wrong_value(field: str, error: Exception | str, annotation: Any = Any) -> FieldError:
    """Where and what, for an error of msgspec or a rule's own sentence; `annotation` is what the field should be.

    A place inside the value follows the field's name: `payer.1`.
    """
    if isinstance(error, UnicodeDecodeError):
        return FieldError(field, "invalid", "Must be valid UTF-8.")
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return FieldError(field, "malformed_json", "Is not valid JSON.")
    text = str(error)
    place = _PLACE.search(text)
    steps = [step["index"] or step["name"] for step in _STEP.finditer(place["path"])] if place else []
    text = text[: place.start()] if place else text
    name = ".".join([field, *(step for step in steps if step != _UNNAMED)])
    if lacking := _FIELD.fullmatch(text):
        needed = text.startswith("Object missing")
        sentence = "This field is required." if needed else "There is no such field."
        return FieldError(f"{name}.{lacking['name']}", "required" if needed else "unknown", sentence)
    subject = "Each name" if place and place["key"] else "Each value" if steps[-1:] == [_UNNAMED] else ""
    return FieldError(name, "invalid", _capital(f"{subject} {_rule(text, annotation, steps)}".strip()))


def _rule(text: str, annotation: Any, steps: list[str]) -> str:
    if told := _RULES.get(text):
        return told
    words = _words(inspect.type_info(annotation), steps)
    typed = _TYPE.fullmatch(text)
    wanted = [one for one in typed["wanted"].split(" | ") if one != "null"] if typed else []
    if words and (text.startswith("Invalid enum value") or wanted in _WORDS_ARE):
        return f"must be one of {', '.join(words)}"
    if typed:
        names = dict.fromkeys(_NAMES.get(one, one) for one in wanted)
        return f"must be {' or '.join(names)}, not {_GIVEN.get(typed['given'], typed['given'])}"
    if match := _LENGTH.fullmatch(text):
        return f"must have {_SIGNS[match['sign']]} {match['limit']} {_UNITS[match['of']]}"
    if match := _LIMIT.fullmatch(text):
        return f"must be {_SIGNS[match['sign']]} {match['limit']}"
    return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _words(info: inspect.Type, steps: list[str]) -> list[str]:
    """The words that may stand at this place of a value; none where they are not to be found."""
    places = _plain(info)
    for step in steps:
        places = [deeper for place in places for deeper in _inside(place, step)]
    return [word for place in places for word in _choices(place)]


def _plain(info: inspect.Type) -> list[inspect.Type]:
    match info:
        case inspect.Metadata():
            return _plain(info.type)
        case inspect.UnionType():
            return [plain for one in info.types for plain in _plain(one)]
    return [info]


def _inside(info: inspect.Type, step: str) -> list[inspect.Type]:
    match info:
        case inspect.CollectionType():
            return _plain(info.item_type)
        case inspect.DictType():
            return _plain(info.value_type)
        case inspect.StructType():
            return [plain for field in info.fields if field.encode_name == step for plain in _plain(field.type)]
    return []


def _choices(info: inspect.Type) -> list[str]:
    match info:
        case inspect.CollectionType():  # of a parameter's list the framework doesn't tell the place
            return [word for one in _plain(info.item_type) for word in _choices(one)]
        case inspect.EnumType():
            return [str(one.value) for one in info.cls]
        case inspect.LiteralType():
            return [str(value) for value in info.values]
    return []
