"""Request bodies: decoded once, exactly (no float on the way), and every wrong field named at once."""

from collections.abc import Callable, Generator
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar, get_origin

import msgspec
from litestar import Request
from litestar._openapi.schema_generation import SchemaCreator
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition
from msgspec import NODEFAULT, UNSET

from api.wrong_values import wrong_value
from domain.errors import FieldError, TolemError, invalid

Rule = Callable[[Any], object]


class RequestBody(msgspec.Struct, kw_only=True):
    """Base of bodies. `RULES` check what a type cannot say; each raises ValueError with a sentence for people.

    A field that is none is passed over, unless the struct says `forbid_unknown_fields`.
    """

    RULES: ClassVar[dict[str, Rule]] = {}


B = TypeVar("B", bound=RequestBody)


class Draft(Generic[B]):
    """A body whose wrong fields are not told yet, because a handler knows of more that may be wrong."""

    def __init__(self, type_: type[B], values: dict[str, Any], errors: list[FieldError]) -> None:
        self._type = type_
        self._values = values
        self.errors = errors

    def get(self, name: str) -> Any:
        """The value of a field that is right, its default where it is absent; UNSET where there is none to look at."""
        if name in self._values or any(error.field.split(".")[0] == name for error in self.errors):
            return self._values.get(name, UNSET)
        default = next(field.default for field in _fields(self._type) if field.name == name)
        return UNSET if default is NODEFAULT else default

    def finish(self, *more: FieldError) -> B:
        """The struct; `TolemError` (invalid_request) lists every wrong field, `more` behind the body's own."""
        if self.errors or more:
            raise invalid(*self.errors, *more)
        return self._type(**self._values)


def read_body(type_: type[B], raw: bytes) -> B:
    """The body as its struct; `TolemError` (invalid_request) lists every wrong field."""
    return read_draft(type_, raw).finish()


def read_draft(type_: type[B], raw: bytes) -> Draft[B]:
    """The body as far as it can be read; `TolemError` (invalid_request) where it is no JSON object."""
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
        except TolemError as error:  # of a list of bodies: each says what is wrong with it
            errors += [msgspec.structs.replace(one, field=f"{field.encode_name}.{one.field}") for one in error.errors]
        except ValueError as error:  # msgspec's errors are ValueErrors too
            errors.append(wrong_value(field.encode_name, error, field.type))
    if type_.__struct_config__.forbid_unknown_fields:
        unknown = given.keys() - {field.encode_name for field in _fields(type_)}
        errors += [FieldError(name, "unknown", "There is no such field.") for name in sorted(unknown)]
    return Draft(type_, values, errors)


@lru_cache(maxsize=64)  # msgspec reads the annotations anew each time
def _fields(type_: type[RequestBody]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(type_)


def _read_field(type_: type[B], field: msgspec.structs.FieldInfo, raw: bytes) -> Any:
    if raw.startswith(b'"') and _is_decimal(field.type):
        raise ValueError("must be a JSON number, without quotes")
    inner = _body_of_list(field.type)
    value = read_list(inner, raw) if inner is not None and raw != b"null" else msgspec.json.decode(raw, type=field.type)
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("must not contain the NUL character")
    rule = type_.RULES.get(field.name)
    if rule is not None and value is not None:
        rule(value)
    return value


def read_list(type_: type[B], raw: bytes) -> list[B]:
    """Every body of a list; `TolemError` (invalid_request) lists every wrong field of each as `0.name`."""
    bodies: list[B] = []
    errors: list[FieldError] = []
    for index, part in enumerate(msgspec.json.decode(raw, type=list[msgspec.Raw])):
        draft = read_part(type_, bytes(part))
        errors += [msgspec.structs.replace(error, field=f"{index}.{error.field}".rstrip(".")) for error in draft.errors]
        if not draft.errors:
            bodies.append(draft.finish())
    if errors:
        raise invalid(*errors)
    return bodies


def read_part(type_: type[B], raw: bytes) -> Draft[B]:
    """A draft of what is JSON, but may be no object."""
    try:
        return read_draft(type_, raw)
    except TolemError:
        return Draft(type_, {}, [FieldError("", "wrong_type", "Must be a JSON object.")])


def _body_of_list(annotation: Any) -> type[RequestBody] | None:
    """The body whose list this is, through "or null" and what else is said of it."""
    args: tuple[Any, ...] = getattr(annotation, "__args__", ())
    if get_origin(annotation) is list and isinstance(args[0], type) and issubclass(args[0], RequestBody):
        return args[0]
    return next((found for one in args if (found := _body_of_list(one)) is not None), None)


def _is_decimal(annotation: Any) -> bool:
    if get_origin(annotation) is None and annotation is Decimal:
        return True
    return any(_is_decimal(inner) for inner in getattr(annotation, "__args__", ()))


class JsonRequest(Request[Any, Any, Any]):
    """A request whose required body is `{}` where it is empty, so that what is missing has a name."""

    async def body(self) -> bytes:
        """The bytes of the body."""
        raw = await super().body()
        field = self.route_handler.parsed_data_field
        return raw if raw or field is None or not field.is_required else b"{}"


class _Body(AbstractDTO[B]):
    """A body that is read without a transfer model; the OpenAPI schema is the struct's own."""

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


class JsonBody(_Body[B]):
    """Hands the raw bytes of a request to `read_body`."""

    def decode_bytes(self, value: bytes) -> B:
        """See `read_body`."""
        return read_body(self.model_type, value)


class JsonDraft(_Body[B]):
    """Hands the raw bytes of a request to `read_draft`, for handlers with checks of their own."""

    def decode_bytes(self, value: bytes) -> Draft[B]:
        """See `read_draft`."""
        return read_draft(self.model_type, value)
