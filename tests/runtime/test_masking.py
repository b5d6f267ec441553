from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from domain.merchant import ConnectionSecrets, Mode
from runtime.masking import HIDDEN, PHONE, mask_text, mask_value
from runtime.secrets import Secret


class Payer(msgspec.Struct):
    phone: str
    client_name: str
    amount: int
    mode: Mode = Mode.TEST


@pytest.mark.parametrize(
    "phone",
    [
        "77011234567",
        "87011234567",
        "+77011234567",
        "7011234567",
        "+7 701 123 45 67",
        "8 (701) 123-45-67",
        "(701) 123 45 67",
        "8-701-123-45-67",
        "+7(701)1234567",
        "79161234567",
        "+998901234567",
        "7\u00a0701\u00a0123\u00a045\u00a067",
    ],
)
def test_phone_numbers_are_hidden_wherever_they_stand(phone: str) -> None:
    for text in (phone, f"тел.{phone},", f"GET /x?phone={phone}&y=1", f"{{'p': '{phone}'}}", f"a\n{phone}\nb"):
        masked = mask_text(text)
        assert PHONE in masked
        assert not any(char.isdigit() for char in masked.replace("y=1", ""))


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T06:43:40.771234Z",
        "2026-11-22T06:43:40.770123+05:00",
        "took 0.77012345678 s",
        "amount 10000.00 KZT",
        "70112345.67",
        "inv_4k6mjq77a3zv5yq2xw7b6cdefe",
        "unix 1795329820 nanos 1795329820123456789",
        "http://127.0.0.1:8000/health",
        "token bucket of con_1 is empty",
        "name 'invoice' is not defined",
        "postgres 18.6 on port 5432",
    ],
)
def test_what_is_not_private_stays_readable(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("key tk_live_vkKw24RwhmnFJVt9oBcgW0GLlOrOJppf2etVVb used", "KEY"),
        ("signed with whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("Authorization: Bearer abc.def.ghi", "abc"),
        ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("{'X-API-Key': 'plain-old-key', 'a': 1}", "plain-old-key"),
        ('{"x-api-key":"plain-old-key"}', "plain-old-key"),
        ("[(b'authorization', b'Token plain-old-key')]", "plain-old-key"),
        ('{"device_token": "plain-old-key", "a": 1}', "plain-old-key"),
        ("Connection(api_key='plain old key', id=1)", "old key"),
        ("POST /x?password=hunter2&y=1", "hunter2"),
        ("{'password': 'a\\'hunter2'}", "hunter2"),
        (repr(Payer(phone="77011234567", client_name="Айгуль", amount=1)), "Айгуль"),
        ('{"comment":"с днём рождения, Айгуль"}', "Айгуль"),
        ("sent Bearer abcdefghijkl to it", "abcdefghijkl"),
        ("postgresql+asyncpg://tolem_app:hunter2@db:5432/tolem refused", "hunter2"),
        ("postgresql://tolem_app:hun/t@er2@db/tolem", "hun/t@er2"),
        ("redis://:hunter2@cache", "hunter2"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEv\nAAA\n-----END PRIVATE KEY-----\n", "MIIEv"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEv", "MIIEv"),
        ("[SQL: INSERT …]\n[parameters: ('Айгуль', 'подарок')]\n(Background …)", "Айгуль"),
        ("new row violates check\nDETAIL:  Failing row contains (1, Айгуль, подарок).", "Айгуль"),
    ],
)
def test_secrets_and_rows_are_hidden_in_text(text: str, hidden: str) -> None:
    if hidden == "KEY":
        hidden = text.split()[1][len("tk_live_") :]
    masked = mask_text(text)
    assert hidden in text
    assert hidden not in masked
    assert mask_text(masked) == masked


def test_a_long_text_keeps_head_and_tail_and_hides_both() -> None:
    masked = mask_text("head 77011234567 " + "x" * 1_000_000 + " token=hunter2 tail")
    assert masked.startswith(f"head {PHONE} ")
    assert masked.endswith(f" token={HIDDEN} tail")
    assert len(masked) < 40_000


@pytest.mark.parametrize("text", ["a-", "http://", "token", "password: '\\a", "name='", "7(", '\\"', "cookie:"])
def test_hostile_repetition_does_not_stop_the_process(text: str) -> None:
    assert mask_text(text * 16_000)


def test_the_rest_of_a_url_stays_for_the_operator() -> None:
    masked = mask_text("postgresql://tolem_app:hunter2@db:5432/tolem")
    assert masked == f"postgresql://tolem_app:{HIDDEN}@db:5432/tolem"


@pytest.mark.parametrize(
    "name",
    [
        *("phone", "payerPhone", "phone_number", "password", "deviceToken", "X-API-Key", "api_key", "name"),
        *("description", "comment", "Set-Cookie", "authorization", "private_key_pem", "client_name", "fio"),
    ],
)
def test_private_fields_are_hidden_by_name(name: str) -> None:
    assert mask_value(name, "Айгуль") == HIDDEN
    assert mask_value(name, {"inside": "Айгуль"}) == HIDDEN
    assert mask_value("outer", {name: "Айгуль"}) == {name: HIDDEN}
    assert mask_value("headers", [(name.encode(), b"value")]) == [[name, HIDDEN]]
    assert mask_value(name, None) is None


@dataclass
class Note:
    comment: str
    at: datetime


class Broken:
    def __str__(self) -> str:
        raise ValueError("77011234567")


def test_structs_and_dataclasses_are_hidden_field_by_field() -> None:
    payer = Payer(phone="77011234567", client_name="Айгуль", amount=150_000)
    assert mask_value("payer", [payer]) == [{"phone": HIDDEN, "client_name": HIDDEN, "amount": 150_000, "mode": "test"}]
    note = Note(comment="подарок", at=datetime(2026, 11, 22, tzinfo=UTC))
    assert mask_value("thing", note) == {"comment": HIDDEN, "at": "2026-11-22T00:00:00+00:00"}


def test_a_type_that_hides_itself_is_believed() -> None:
    assert mask_value("connection", ConnectionSecrets(device_token="t0ken")) == "ConnectionSecrets(…)"
    assert mask_value("thing", Secret("hunter2")) == "Secret(…)"


def test_other_values() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    assert mask_value("x", 77011234567) == PHONE
    assert mask_value("x", 1_500_000) == 1_500_000
    assert mask_value("x", Decimal("10000.00")) == "10000.00"
    assert mask_value("x", 0.25) == 0.25
    assert mask_value("x", True) is True
    assert mask_value("x", b"call 77011234567") == f"call {PHONE}"
    assert mask_value("x", {"77011234567": 1}) == {PHONE: 1}
    assert mask_value("x", Mode.LIVE) == "live"
    assert mask_value("x", ValueError("no 77011234567")) == f"no {PHONE}"
    assert mask_value("x", Broken()) == "[unprintable Broken]"
    assert "…" in str(mask_value("x", cyclic))
