import base64
import json

import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from runtime.codec_server import BadCodecRequest, decode_payloads, encode_payloads
from runtime.payload_codec import ENCODING, EncryptionCodec
from runtime.secrets import KeyRing

CODEC = EncryptionCodec(KeyRing("k1", {"k1": bytes(32)}))
OTHER = EncryptionCodec(KeyRing("k9", {"k9": bytes(32)}))


def plain(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(text).encode())


def body(*payloads: Payload) -> bytes:
    return json_format.MessageToJson(Payloads(payloads=payloads)).encode()


async def test_the_ui_gets_readable_payloads_in_their_order() -> None:
    sealed = await CODEC.encode([plain("Айгуль"), plain("second")])
    answer = json.loads(decode_payloads(body(*sealed), CODEC))
    assert [base64.b64decode(payload["data"]).decode() for payload in answer["payloads"]] == [
        json.dumps("Айгуль"),
        '"second"',
    ]
    assert {payload["metadata"]["encoding"] for payload in answer["payloads"]} == {
        base64.b64encode(b"json/plain").decode()
    }


async def test_what_does_not_open_comes_back_untouched_beside_what_does() -> None:
    (foreign,) = await OTHER.encode([plain("x")])
    (ours,) = await CODEC.encode([plain("y")])
    answer = json_format.Parse(decode_payloads(body(foreign, ours, plain("z")), CODEC), Payloads())
    assert list(answer.payloads) == [foreign, plain("y"), plain("z")]


def test_nothing_to_decode() -> None:
    assert json.loads(decode_payloads(b"{}", CODEC)) == {}
    assert json.loads(decode_payloads(b'{"payloads": []}', CODEC)) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        *(b"", b"77011234567", b"[]", b"null", b'{"payloads": {"phone": "77011234567"}}', b'{"pay": []}'),
        *(b"\xff\xfe", b'{"payloads": [1]}', b'{"payloads": [{"data": 1}]}', b'{"payloads": [{"metadata": []}]}'),
        *(b'{"payloads": [{"metadata": {"encoding": {}}}]}', b"[" * 100_000),
    ],
)
def test_anything_else_is_refused_without_repeating_it(wrong: bytes) -> None:
    with pytest.raises(BadCodecRequest) as caught:
        decode_payloads(wrong, CODEC)
    assert "77011234567" not in str(caught.value)


async def test_what_an_operator_types_is_encrypted_and_reads_back() -> None:
    encoded = await encode_payloads(body(plain("Айгуль"), plain("second")), CODEC)
    assert "Айгуль".encode() not in encoded
    assert base64.b64encode(json.dumps("Айгуль").encode()) not in encoded
    sealed = json_format.Parse(encoded, Payloads())
    assert {payload.metadata["encoding"] for payload in sealed.payloads} == {ENCODING}
    assert json_format.Parse(decode_payloads(encoded, CODEC), Payloads()) == Payloads(
        payloads=[plain("Айгуль"), plain("second")]
    )


async def test_what_is_not_the_protocol_is_not_encoded() -> None:
    with pytest.raises(BadCodecRequest):
        await encode_payloads(b"77011234567", CODEC)
