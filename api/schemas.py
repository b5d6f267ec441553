"""How our own types look in OpenAPI where the framework guesses wrong."""

from decimal import Decimal
from typing import Any

from litestar._openapi.schema_generation import SchemaCreator
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition
from msgspec import Meta


class AmountSchema(OpenAPISchemaPlugin):
    """A Decimal in a request is a JSON number, as the published contract has it: an amount in tenge, or in the bounds
    that stand with it (`extra_json_schema`).
    """

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Decimals."""
        return field_definition.annotation is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        """A number in its bounds."""
        bounds = next((one for meta in field_definition.metadata if (one := _bounds(meta))), _AMOUNT)
        return Schema(
            type=OpenAPIType.NUMBER,
            minimum=bounds["minimum"],
            maximum=bounds["maximum"],
            multiple_of=bounds["multipleOf"],
        )


_AMOUNT = {"minimum": 0.01, "maximum": 99999999.99, "multipleOf": 0.01}


def _bounds(meta: Any) -> dict[str, Any] | None:
    return meta.extra_json_schema if isinstance(meta, Meta) else None
