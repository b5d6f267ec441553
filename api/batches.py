"""Bodies that are one object or a batch of them, each of which may be wrong by itself."""

from typing import ClassVar, Generic

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.openapi.spec import OpenAPIType, Reference, Schema
from litestar.typing import FieldDefinition

from api.bodies import B, Draft, JsonDraft, read_draft, read_part
from domain.errors import FieldError, invalid


class Batch(Generic[B]):
    """What was sent: the objects in their order, and whether it was one without a batch around it."""

    def __init__(self, drafts: list[Draft[B]], *, single: bool) -> None:
        self.drafts = drafts
        self.single = single


def read_batch(type_: type[B], raw: bytes, most: int) -> Batch[B]:
    """`{"items": [...]}`, or one object; `TolemError` (invalid_request) for what is neither or has too many."""
    given = _object(raw)
    if given is None or "items" not in given:
        return Batch([read_draft(type_, raw)], single=True)  # which tells what is wrong where it is no JSON object
    try:
        items = msgspec.json.decode(given["items"], type=list[msgspec.Raw])
    except msgspec.ValidationError:
        raise invalid(FieldError("items", "invalid", "Must be a list of objects.")) from None
    if not 1 <= len(items) <= most:
        raise invalid(FieldError("items", "invalid", f"Must have 1 to {most} items."))
    return Batch([read_part(type_, bytes(item)) for item in items], single=False)


def _object(raw: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class JsonBatch(JsonDraft[B]):
    """Hands the raw bytes of a request to `read_batch`."""

    MOST: ClassVar[int] = 50

    def decode_bytes(self, value: bytes) -> Batch[B]:  # type: ignore[override]  # what a handler gets is the DTO's own affair
        """See `read_batch`."""
        return read_batch(self.model_type, value, self.MOST)

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        """A batch or one object. An item of a batch may be anything: what is wrong with it stops no other."""
        one = schema_creator.for_field_definition(FieldDefinition.from_annotation(cls.model_type))
        anything = Schema(description="A wrong item is told in `errors` of the answer.")
        items = Schema(type=OpenAPIType.ARRAY, items=Schema(any_of=[one, anything]), min_items=1, max_items=cls.MOST)
        batch = Schema(type=OpenAPIType.OBJECT, title="Batch", properties={"items": items}, required=["items"])
        return Schema(any_of=[batch, one])
