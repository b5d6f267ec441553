"""What is wrong with a value is said in the words of JSON, with its place and its choices."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from api.wrong_values import wrong_value
from domain.errors import FieldError


class Word(StrEnum):
    YES = "yes"
    NO = "no"


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    word: Word | None = None


CHOICES = "Must be one of yes, no."


@pytest.mark.parametrize(
    ("wanted", "given", "place", "message"),
    [
        (Word, '"maybe"', "", CHOICES),
        (Word | None, "1", "", CHOICES),
        (Annotated[list[Word], Meta(max_length=4)] | None, '["yes", "maybe"]', ".1", CHOICES),
        (dict[str, Word], '{"a": "maybe"}', "", f"Each value m{CHOICES[1:]}"),
        (list[Inner], '[{"count": 1}, {"count": 1, "word": "maybe"}]', ".1.word", CHOICES),
        (Literal["yes", "no"], '"maybe"', "", "Must be one of no, yes."),
        (int, '"1"', "", "Must be an integer, not a string."),
        (int | None, "1.5", "", "Must be an integer, not a number with decimals."),
        (bool, "1", "", "Must be true or false, not an integer."),
        (str, "true", "", "Must be a string, not a boolean."),
        (str, "null", "", "Must be a string, not null."),
        (str | list[str], "{}", "", "Must be a string or a list, not an object."),
        (list[Word], '"yes"', "", "Must be a list, not a string."),
        (list[str], "{}", "", "Must be a list, not an object."),
        (Decimal, "true", "", "Must be a number, not a boolean."),
        (Decimal, '"x"', "", "Must be a number."),
        (datetime, '"x"', "", "Must be a time such as 2027-01-31T10:00:00+05:00."),
        (date | None, '"x"', "", "Must be a day such as 2027-01-31."),
        (
            Annotated[datetime, Meta(tz=True)],
            '"2027-01-31T10:00:00"',
            "",
            "Must have a time zone, as 2027-01-31T10:00:00+05:00 has.",
        ),
        (Annotated[int, Meta(ge=1, le=31)] | None, "40", "", "Must be at most 31."),
        (Annotated[int, Meta(ge=1, le=31)], "0", "", "Must be at least 1."),
        (Annotated[float, Meta(gt=0.5)], "0.5", "", "Must be more than 0.5."),
        (Annotated[str, Meta(max_length=2)], '"abc"', "", "Must have at most 2 characters."),
        (Annotated[list[int], Meta(min_length=1)], "[]", "", "Must have at least 1 items."),
        (dict[str, str], '{"a": 1}', "", "Each value must be a string, not an integer."),
        (
            dict[Annotated[str, Meta(max_length=2)], str],
            '{"abc": "a"}',
            "",
            "Each name must have at most 2 characters.",
        ),
    ],
)
def test_a_wrong_value(wanted: Any, given: str, place: str, message: str) -> None:
    assert _refused(given.encode(), wanted) == FieldError(f"field{place}", "invalid", message)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{}", FieldError("field.0.count", "required", "This field is required.")),
        ('{"count": 1, "more": 2}', FieldError("field.0.more", "unknown", "There is no such field.")),
        ('{"count": 1, "missing": 2}', FieldError("field.0.missing", "unknown", "There is no such field.")),
        ('{"count": 1, "word": "a - at `$.b"}', FieldError("field.0.word", "invalid", CHOICES)),
    ],
)
def test_fields_inside_a_value(given: str, expected: FieldError) -> None:
    assert _refused(f"[{given}]".encode(), list[Inner]) == expected


def test_what_is_no_text() -> None:
    assert _refused(b'"\xff"', str) == FieldError("field", "invalid", "Must be valid UTF-8.")
    assert _refused(b'"\\ud800"', str) == FieldError("field", "malformed_json", "Is not valid JSON.")


def test_a_wrong_word_of_a_list_whose_place_is_lost() -> None:
    assert wrong_value("status", "Invalid enum value 'maybe'", list[Word] | None) == FieldError(
        "status", "invalid", CHOICES
    )


def test_a_rules_own_sentence_is_kept() -> None:
    assert wrong_value("phone_number", ValueError("must have 11 digits")).message == "Must have 11 digits."
    assert wrong_value("amount", "Two. Sentences.").message == "Two. Sentences."


def _refused(raw: bytes, wanted: Any) -> FieldError:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # whatever msgspec raises; what it says is checked
        msgspec.json.decode(raw, type=wanted)
    return wrong_value("field", refused.value, wanted)
