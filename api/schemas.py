"""How our own types look in OpenAPI where the framework guesses wrong."""

from decimal import Decimal

from litestar._openapi.schema_generation import SchemaCreator
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition


class AmountSchema(OpenAPISchemaPlugin):
    """A Decimal in a request is an amount in tenge: a JSON number, as the published contract has it."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Decimals."""
        return field_definition.annotation is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        """A number in the bounds of domain.money."""
        return Schema(type=OpenAPIType.NUMBER, minimum=0.01, maximum=99999999.99, multiple_of=0.01)
