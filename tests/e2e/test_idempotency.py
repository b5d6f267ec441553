"""One key, one bill, one answer."""

import asyncio

import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.shop import Shop, fresh_key, fresh_phone

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("kind", ["phone", "qr"])
async def test_fifty_identical_requests_make_one_bill_and_fifty_equal_answers(shop: Shop, kind: str) -> None:
    headers, phone = {"Idempotency-Key": fresh_key()}, fresh_phone()
    path, body = ("/api/v1/invoices", {"amount": 12.5, "phone_number": phone})
    if kind == "qr":
        path, body = ("/api/v1/qr", {"amount": 12.5})
    answers = await asyncio.gather(*(shop.live.post(path, json=body, headers=headers) for _ in range(50)))
    assert {one.status_code for one in answers} == {201}
    assert len({one.content for one in answers}) == 1
    made = answers[0].json()
    found = await shop.purchases(phone=phone) if kind == "phone" else await shop.purchases(external_id=made["id"])
    assert [str(one["id"]) for one in found] == [made["kaspi_invoice_id"]]

    later = await shop.live.post(path, json=body, headers=headers)
    assert (later.status_code, later.content) == (201, answers[0].content)
    assert later.headers["idempotent-replayed"] == "true"


async def test_the_replay_is_the_first_answer_even_when_the_bill_moved_on(shop: Shop) -> None:
    headers, body = {"Idempotency-Key": fresh_key()}, {"amount": 3, "phone_number": fresh_phone()}
    first = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    await shop.pay(first.json())
    await shop.until_state(first.json()["id"], "paid")
    again = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)


@pytest.mark.parametrize(
    "change", [{"amount": 4}, {"description": "другое"}, {"external_order_id": "x"}, {"phone_number": "77010000001"}]
)
async def test_the_same_key_with_another_body_is_refused(shop: Shop, change: dict[str, object]) -> None:
    headers, body = {"Idempotency-Key": fresh_key()}, {"amount": 3, "phone_number": fresh_phone()}
    first = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    refused = await shop.live.post("/api/v1/invoices", json={**body, **change}, headers=headers)
    assert_error(refused, Code.IDEMPOTENCY_KEY_REUSED)
    assert len(await shop.purchases(phone=str(body["phone_number"]))) == 1
    again = await shop.live.post("/api/v1/invoices", json=body, headers=headers)
    assert again.content == first.content


async def test_of_two_bodies_racing_for_one_key_one_is_made_and_one_refused(shop: Shop) -> None:
    headers, phones = {"Idempotency-Key": fresh_key()}, [fresh_phone(), fresh_phone()]
    bodies = [{"amount": 3, "phone_number": phones[n % 2]} for n in range(10)]
    answers = await asyncio.gather(*(shop.live.post("/api/v1/invoices", json=body, headers=headers) for body in bodies))
    assert sorted(one.status_code for one in answers) == [201] * 5 + [422] * 5
    assert len({one.content for one in answers if one.status_code == 201}) == 1
    assert sorted([len(await shop.purchases(phone=phone)) for phone in phones]) == [0, 1]


async def test_the_same_body_in_another_spelling_is_the_same_request(shop: Shop) -> None:
    key, phone = fresh_key(), fresh_phone()
    spellings = [
        {"amount": 100, "phone_number": phone, "description": "a"},
        {"description": " a ", "phone_number": f"+{phone}", "amount": 100.00, "external_order_id": ""},
        {"phone_number": f"8{phone[1:]}", "amount": 100, "description": "a", "is_sandbox": False},
    ]
    answers = [
        await shop.live.post("/api/v1/invoices", json=body, headers={"Idempotency-Key": key}) for body in spellings
    ]
    assert {(one.status_code, one.content) for one in answers} == {(201, answers[0].content)}


async def test_without_a_key_each_request_is_a_bill(shop: Shop) -> None:
    body = {"amount": 3, "phone_number": fresh_phone()}
    first, second = [await shop.live.post("/api/v1/invoices", json=body) for _ in range(2)]
    assert first.json()["id"] != second.json()["id"]
    assert len(await shop.purchases(phone=str(body["phone_number"]))) == 2


@pytest.mark.parametrize("key", [b"", b"x" * 256, "ключ".encode(), b"a\tb"])
async def test_what_cannot_be_a_key_is_refused(shop: Shop, key: bytes) -> None:
    body = {"amount": 3, "phone_number": fresh_phone()}
    answer = await shop.live.post("/api/v1/invoices", json=body, headers={b"Idempotency-Key": key})
    assert [one["field"] for one in assert_error(answer, Code.INVALID_REQUEST)["errors"]] == ["Idempotency-Key"]
