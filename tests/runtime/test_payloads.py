from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Optional

import msgspec
import pytest
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.common import RawValue

from runtime.payload_codec import ENCODING, EncryptionCodec, PayloadUnreadable
from runtime.payloads import TolemPayloadConverter
from runtime.secrets import KeyRing

CONVERTER = TolemPayloadConverter()
OLD, NEW = bytes(32), bytes(range(32))
CODEC = EncryptionCodec(KeyRing("new", {"new": NEW, "old": OLD}))


class State(StrEnum):
    OPEN = "open"
    PAID = "paid"


class Thing(msgspec.Struct, frozen=True):
    amount: int
    at: datetime
    state: State = State.OPEN


class NewerThing(msgspec.Struct, frozen=True):
    amount: int
    at: datetime
    state: State = State.OPEN
    added: str = "later"


class Card(msgspec.Struct, tag="card"):
    last4: str


class Qr(msgspec.Struct, tag="qr"):
    token: str


@dataclass
class Plain:
    tenge: Decimal


AT = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "hint", "encoding"),
    [
        (None, type(None), "binary/null"),
        (b"\x00\xff", bytes, "binary/plain"),
        (WorkflowExecution(workflow_id="w"), WorkflowExecution, "json/protobuf"),
        (Thing(amount=2**53 + 1, at=AT), Thing, "json/plain"),
        ([Thing(amount=1, at=AT)], list[Thing], "json/plain"),
        (Thing(amount=1, at=AT), Thing | None, "json/plain"),
        (None, Optional[Thing], "binary/null"),  # noqa: UP045 - the spelling is what is tested
        (Card(last4="4242"), Card | Qr, "json/plain"),
        (Plain(tenge=Decimal("0.10")), Plain, "json/plain"),
        (AT, datetime, "json/plain"),
        (date(2026, 11, 22), date, "json/plain"),
        (timedelta(days=1, seconds=5), timedelta, "json/plain"),
        (Decimal("15000.50"), Decimal, "json/plain"),
        (State.PAID, State, "json/plain"),
        ({"a": [1, 2]}, dict[str, list[int]], "json/plain"),
        ({"a": [1, "x"]}, None, "json/plain"),
        ({3, 1, 2}, set[int], "json/plain"),
    ],
)
def test_values_come_back_as_they_were(value: Any, hint: Any, encoding: str) -> None:
    payload = CONVERTER.to_payload(value)
    assert payload.metadata["encoding"] == encoding.encode()
    assert CONVERTER.from_payloads([payload], [hint]) == [value]


def test_the_json_is_readable_and_stable() -> None:
    payload = CONVERTER.to_payload(Thing(amount=1, at=AT, state=State.PAID))
    assert payload.data == b'{"amount":1,"at":"2026-11-22T06:30:00Z","state":"paid"}'
    assert CONVERTER.to_payload({"b": 1, "a": {2, 1}}).data == b'{"a":[1,2],"b":1}'


def test_a_raw_value_stays_a_payload() -> None:
    payload = CONVERTER.to_payload(1)
    (raw,) = CONVERTER.from_payloads([payload], [RawValue])
    assert raw.payload == payload


def test_an_older_reader_skips_new_fields_and_a_newer_one_fills_defaults() -> None:
    newer = CONVERTER.to_payload(NewerThing(amount=1, at=AT))
    assert CONVERTER.from_payload(newer, Thing) == Thing(amount=1, at=AT)
    older = CONVERTER.to_payload(Thing(amount=1, at=AT))
    assert CONVERTER.from_payload(older, NewerThing) == NewerThing(amount=1, at=AT)


@pytest.mark.parametrize(
    "data",
    [
        b'{"amount":"77011234567","at":"2026-11-22T06:30:00Z"}',
        b'{"amount":1.5,"at":"2026-11-22T06:30:00Z"}',
        b'{"amount":1}',
        b'{"amount":1,"at":"2026-11-22T06:30:00Z","state":"77011234567"}',
        b"[1]",
        b'{"amount":1',
        b"\xff",
    ],
)
def test_another_shape_is_refused_without_repeating_the_data(data: bytes) -> None:
    payload = Payload(metadata={"encoding": b"json/plain"}, data=data)
    with pytest.raises(RuntimeError) as caught:
        CONVERTER.from_payload(payload, Thing)
    seen: BaseException | None = caught.value
    assert "is not a Thing" in str(caught.value.__cause__)
    while seen is not None:
        assert "77011234567" not in str(seen)
        seen = seen.__cause__ or seen.__context__ if not seen.__suppress_context__ else seen.__cause__


def test_a_type_nobody_declared_is_an_error() -> None:
    with pytest.raises(TypeError):
        CONVERTER.to_payload(object())


async def test_encryption_hides_data_and_metadata_and_opens_again() -> None:
    payloads = [CONVERTER.to_payload("77011234567"), CONVERTER.to_payload(None)]
    sealed = await CODEC.encode(payloads)
    for each in sealed:
        assert each.metadata["encoding"] == ENCODING
        assert b"77011234567" not in each.SerializeToString()
        assert b"json/plain" not in each.SerializeToString()
    assert await CODEC.decode(sealed) == payloads
    assert (await CODEC.encode(payloads))[0].data != sealed[0].data


async def test_old_keys_read_and_removed_keys_are_named() -> None:
    (old,) = await EncryptionCodec(KeyRing("old", {"old": OLD})).encode([CONVERTER.to_payload(1)])
    assert (await CODEC.decode([old]))[0] == CONVERTER.to_payload(1)
    with pytest.raises(PayloadUnreadable, match="'old'"):
        await EncryptionCodec(KeyRing("new", {"new": NEW})).decode([old])


async def test_payloads_of_others_pass_through() -> None:
    plain = [CONVERTER.to_payload({"by": "operator"}), Payload(data=b"no metadata at all")]
    assert await CODEC.decode(plain) == plain


async def test_changed_bytes_do_not_open() -> None:
    (sealed,) = await CODEC.encode([CONVERTER.to_payload(1)])
    for place in range(len(sealed.data)):
        changed = bytearray(sealed.data)
        changed[place] ^= 1
        with pytest.raises(PayloadUnreadable):
            await CODEC.decode([Payload(metadata=sealed.metadata, data=bytes(changed))])
    for length in (0, 5, 12, 20):
        with pytest.raises(PayloadUnreadable):
            await CODEC.decode([Payload(metadata=sealed.metadata, data=sealed.data[:length])])
    with pytest.raises(PayloadUnreadable):
        await CODEC.decode([Payload(metadata={**sealed.metadata, "tolem-key-id": b"old"}, data=sealed.data)])


async def test_the_key_id_is_part_of_what_is_sealed() -> None:
    codec = EncryptionCodec(KeyRing("one", {"one": NEW, "two": NEW}))
    (sealed,) = await codec.encode([CONVERTER.to_payload(1)])
    with pytest.raises(PayloadUnreadable):
        await codec.decode([Payload(metadata={**sealed.metadata, "tolem-key-id": b"two"}, data=sealed.data)])
