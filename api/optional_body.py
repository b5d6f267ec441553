"""Bodies that may be left out."""

from dataclasses import dataclass

from litestar.openapi.spec import Operation, RequestBody


@dataclass
class BodyOptional(Operation):
    """An operation whose body may be left out, where the framework describes every body as required."""

    def __post_init__(self) -> None:
        """The description is complete by now."""
        if isinstance(self.request_body, RequestBody):
            self.request_body.required = False
