"""Values to Temporal payloads and back: readable JSON by msgspec, decoded strictly by the type hint."""

import re
from typing import Any

import msgspec
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    BinaryProtoPayloadConverter,
    CompositePayloadConverter,
    EncodingPayloadConverter,
    JSONProtoPayloadConverter,
)

_QUOTED_VALUE = re.compile(r"'[^']*'")


class MsgspecJsonConverter(EncodingPayloadConverter):
    """``json/plain`` for Structs, dataclasses, datetimes, Decimals (as text), enums and plain values.

    Other SDKs and the Temporal UI read and write the same encoding. A value of another shape than its hint
    is a `RuntimeError`, never a coerced guess; unknown fields are ignored, so that an old worker reads a
    newer message.
    """

    @property
    def encoding(self) -> str:
        return "json/plain"

    def to_payload(self, value: Any) -> Payload:
        """`TypeError` for a type that msgspec cannot encode."""
        # Sets and dicts in a fixed order: the same value gives the same bytes in a replay.
        data = msgspec.json.encode(value, order="deterministic")
        return Payload(metadata={"encoding": b"json/plain"}, data=data)

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        hint: Any = Any if type_hint is None else type_hint
        try:
            return msgspec.json.decode(payload.data, type=hint)
        except msgspec.DecodeError as error:
            # Quoted values are data of a payment and the cause would carry them into histories and logs.
            reason = _QUOTED_VALUE.sub("'…'", str(error))
            name = getattr(type_hint, "__name__", str(type_hint))
            raise RuntimeError(f"payload is not a {name}: {reason}") from None


class TolemPayloadConverter(CompositePayloadConverter):
    """The SDK's converters with msgspec in the place of its JSON."""

    def __init__(self) -> None:
        super().__init__(
            BinaryNullPayloadConverter(),
            BinaryPlainPayloadConverter(),
            # The SDK's own queries answer with protobuf messages.
            JSONProtoPayloadConverter(),
            BinaryProtoPayloadConverter(),
            MsgspecJsonConverter(),
        )
