"""The Temporal UI's remote codec protocol: protobuf-JSON payloads in, readable (or encrypted) ones out."""

import json
from collections.abc import Sequence

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from runtime.payload_codec import EncryptionCodec, PayloadUnreadable

_WANTED = 'send {"payloads": […]} as protobuf-JSON'


class BadCodecRequest(ValueError):
    """The body is not ``{"payloads": […]}`` in protobuf-JSON."""


def decode_payloads(body: bytes, codec: EncryptionCodec) -> bytes:
    """The body of ``POST …/decode`` to its answer: as many payloads, in the same order.

    A payload that does not open (an old key was removed, or it was never ours) is returned as it came: the
    UI then shows the encrypted bytes of that one and still reads its neighbours. `BadCodecRequest` for
    anything that is not the protocol.
    """
    request = _parse(body)
    return _answer([_readable(payload, codec) for payload in request.payloads])


async def encode_payloads(body: bytes, codec: EncryptionCodec) -> bytes:
    """The body of ``POST …/encode`` to its answer: what an operator typed into the UI, encrypted.

    With a codec endpoint set, the UI sends no signal or update without this. Otherwise as `decode_payloads`.
    """
    return _answer(await codec.encode(_parse(body).payloads))


def _answer(payloads: Sequence[Payload]) -> bytes:
    return json_format.MessageToJson(Payloads(payloads=payloads), indent=None).encode()


def _parse(body: bytes) -> Payloads:
    try:
        document = json.loads(body)
        # A list or null would parse as a message without fields.
        if isinstance(document, dict):
            return json_format.ParseDict(document, Payloads())
    except (ValueError, RecursionError, json_format.ParseError):
        # The parsers quote what they could not read, so their text stays here.
        raise BadCodecRequest(_WANTED) from None
    raise BadCodecRequest(_WANTED)


def _readable(payload: Payload, codec: EncryptionCodec) -> Payload:
    try:
        return codec.decrypt(payload)
    except PayloadUnreadable:
        return payload
