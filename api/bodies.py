"""Request bodies: decoded once, exactly (no float on the way), and every wrong field named at once."""

from collections.abc import Callable, Generator
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, TypeVar, get_origin

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from domain.errors import FieldError, invalid

Rule = Callable[[Any], object]


class RequestBody(msgspec.Struct, kw_only=True):
    """Base of bodies. `RULES` check what a type cannot say; each raises ValueError with a sentence for people.

    A field that is none is passed over, unless the struct says `forbid_unknown_fields`.
    """

    RULES: ClassVar[dict[str, Rule]] = {}


B = TypeVar("B", bound=RequestBody)


def read_body(type_: type[B], raw: bytes) -> B:
    """The body as its struct; `TolemError` (invalid_request) lists every wrong field."""
    try:
        given = msgspec.json.decode(raw or b"{}", type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise invalid(FieldError("", "wrong_type", "The body must be a JSON object.")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid(FieldError("", "malformed_json", "The body is not valid JSON.")) from None
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for field in _fields(type_):
        if field.encode_name not in given:
            if field.required:
                errors.append(FieldError(field.encode_name, "required", "This field is required."))
            continue
        try:
            values[field.name] = _read_field(type_, field, bytes(given[field.encode_name]))
        except ValueError as error:  # msgspec's errors are ValueErrors too
            errors.append(FieldError(field.encode_name, "invalid", _sentence(error)))
    if type_.__struct_config__.forbid_unknown_fields:
        unknown = given.keys() - {field.encode_name for field in _fields(type_)}
        errors += [FieldError(name, "unknown", "There is no such field.") for name in sorted(unknown)]
    if errors:
        raise invalid(*errors)
    return type_(**values)


@lru_cache(maxsize=64)  # msgspec reads the annotations anew each time
def _fields(type_: type[RequestBody]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(type_)


def _read_field(type_: type[B], field: msgspec.structs.FieldInfo, raw: bytes) -> Any:
    if raw.startswith(b'"') and _is_decimal(field.type):
        raise ValueError("must be a JSON number, without quotes")
    value = msgspec.json.decode(raw, type=field.type)
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("must not contain the NUL character")
    rule = type_.RULES.get(field.name)
    if rule is not None and value is not None:
        rule(value)
    return value


def _is_decimal(annotation: Any) -> bool:
    if get_origin(annotation) is None and annotation is Decimal:
        return True
    return any(_is_decimal(inner) for inner in getattr(annotation, "__args__", ()))


def _sentence(error: ValueError) -> str:
    text = str(error).removesuffix(" - at `$`")
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


class JsonBody(AbstractDTO[B]):
    """Hands the raw bytes of a request to `read_body`; the OpenAPI schema is the struct's own."""

    def decode_bytes(self, value: bytes) -> B:
        """See `read_body`."""
        return read_body(self.model_type, value)

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: type[Any] | None = None
    ) -> None:
        """Nothing to prepare: there is no transfer model."""

    @classmethod
    def create_openapi_schema(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,
        schema_creator: SchemaCreator,
    ) -> Reference | Schema:
        """The struct's schema; a body that may be left out still cannot be null."""
        return schema_creator.for_field_definition(FieldDefinition.from_annotation(cls.model_type))

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """None: there is no transfer model."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Never: there is no transfer model."""
        return False
