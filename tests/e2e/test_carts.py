"""Carts through the public door: priced, sold, kept, and given back line by line."""

from typing import Any

import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.inbox import Inbox
from tests.support.refunds import given_back, refund, until_refund
from tests.support.shop import Shop, fresh_key, fresh_phone

pytestmark = pytest.mark.stack


async def stocked(shop: Shop, *items: tuple[str, float, str], sandbox: bool = False) -> list[str]:
    """Ids of new catalog items of (name, price, unit)."""
    client = shop.test if sandbox else shop.live
    body = {"items": [{"name": name, "price": price, "unit": unit} for name, price, unit in items]}
    answer = await client.post("/api/v1/catalog", json=body)
    assert answer.status_code == 201, answer.text
    return [item["id"] for item in answer.json()["items"]]


def lines(invoice: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(item["name"], item["count"], item["sum"], item["amount"]) for item in invoice["items"]]


async def test_a_cart_is_sold_paid_kept_and_given_back_line_by_line(shop: Shop, inbox: Inbox) -> None:
    tea, apples = await stocked(shop, ("Чай", 33.33, "piece"), ("Яблоки", 640, "kg"))
    cart = [
        {"catalog_item_id": tea, "count": 3},
        {"catalog_item_id": apples, "count": 0.755, "price": 600.5},
    ]
    made = await shop.bill(amount=None, cart_items=cart, discount_percentage=10)
    # 3 × 33.33 = 99.99; 0.755 × 600.50 = 453.3775; together 553.37, less 10 % 498.033.
    assert (made["amount"], made["discount_percentage"]) == ("498.03", "10.00")
    assert lines(made) == [("Чай", "3", "99.99", "89.99"), ("Яблоки", "0.755", "453.38", "408.04")]
    assert [item["price_overridden"] for item in made["items"]] == [False, True]
    (purchase,) = await shop.purchases(phone=made["phone_number"])
    assert purchase["amount_tiyn"] == 49_803
    await shop.pay(made)
    paid = await shop.until_state(made["id"], "paid")
    assert (await shop.live.patch(f"/api/v1/catalog/{tea}", json={"price": 1, "name": "Кофе"})).status_code == 200
    assert (await shop.live.delete(f"/api/v1/catalog/{apples}")).status_code == 204
    assert (await shop.read(made["id"]))["items"] == made["items"] == paid["items"]
    (told,) = await inbox.wait(made["id"], count=1)
    assert told.object["items"] == made["items"]

    first = await refund(shop.live, made["id"], items=[{"position": 1, "count": 1}])
    assert (first["amount"], first["items"]) == ("30.00", [{"position": 1, "count": "1", "amount": "30.00"}])
    await until_refund(shop.live, first["id"], status="completed")
    too_much = await shop.live.post(
        f"/api/v1/invoices/{made['id']}/refund", json={"items": [{"position": 1, "amount": 60}]}
    )
    assert assert_error(too_much, Code.REFUND_ITEM_EXCEEDS_AVAILABLE)["details"] == {
        "position": "1",
        "available": "59.99",
    }
    rest = await refund(shop.live, made["id"], items=[{"position": 1}, {"position": 2}])
    done = await until_refund(shop.live, rest["id"], status="completed")
    assert [item["amount"] for item in done["items"]] == ["59.99", "408.04"]
    assert (await shop.read(made["id"]))["state"] == "refunded"
    assert await given_back(shop, made) == [3000, 46_803]


async def test_a_qr_has_a_cart_too_and_a_list_shows_it(shop: Shop) -> None:
    (tea,) = await stocked(shop, ("Чай", 100, "piece"), sandbox=True)
    order = fresh_key()
    body = {"cart_items": [{"catalog_item_id": tea, "count": 2}], "external_order_id": order}
    answer = await shop.test.post("/api/v1/qr", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["amount"], lines(made), made["is_sandbox"]) == ("200.00", [("Чай", "2", "200.00", "200.00")], True)
    listed = (await shop.test.get("/api/v1/invoices", params={"external_order_id": order})).json()["items"]
    assert [(one["id"], one["items"]) for one in listed] == [(made["id"], made["items"])]


async def test_with_the_same_key_a_cart_is_sold_once_whatever_it_costs_meanwhile(shop: Shop) -> None:
    (tea,) = await stocked(shop, ("Чай", 100, "piece"), sandbox=True)
    headers = {"Idempotency-Key": fresh_key()}
    body = {"phone_number": fresh_phone(), "cart_items": [{"catalog_item_id": tea, "count": 2}]}
    first = await shop.test.post("/api/v1/invoices", json=body, headers=headers)
    assert (first.status_code, first.json()["amount"]) == (201, "200.00")
    assert (await shop.test.patch(f"/api/v1/catalog/{tea}", json={"price": 1, "archived": True})).status_code == 200
    spelled = body | {"cart_items": [{"catalog_item_id": tea, "count": 2.000}]}
    again = await shop.test.post("/api/v1/invoices", json=spelled, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    other = body | {"cart_items": [{"catalog_item_id": tea, "count": 3}]}
    assert_error(await shop.test.post("/api/v1/invoices", json=other, headers=headers), Code.IDEMPOTENCY_KEY_REUSED)


async def test_what_is_wrong_with_a_cart_is_named(shop: Shop) -> None:
    tea, kilos = await stocked(shop, ("Чай", 100, "piece"), ("Мука", 0.01, "kg"), sandbox=True)
    (live,) = await stocked(shop, ("Чай", 100, "piece"))

    async def wrong(code: Code = Code.INVALID_REQUEST, **fields: object) -> list[str]:
        answer = await shop.test.post("/api/v1/invoices", json={"phone_number": fresh_phone(), **fields})
        return [error["field"] for error in assert_error(answer, code)["errors"]]

    one = {"catalog_item_id": tea, "count": 1}
    assert await wrong() == ["amount"]
    assert await wrong(amount=1, discount_percentage=10) == ["discount_percentage"]
    assert await wrong(cart_items=[]) == ["cart_items"]
    assert await wrong(cart_items=[one] * 51) == ["cart_items"]
    assert await wrong(cart_items=[one], discount_percentage=100) == ["discount_percentage"]
    assert await wrong(cart_items=[one], discount_percentage=100.01) == ["discount_percentage"]
    assert await wrong(Code.CART_AMOUNT_MISMATCH, cart_items=[one], amount=99) == ["amount", "cart_items"]
    assert await wrong(
        phone_number="1", cart_items=[{"count": 0.0001}, one, {"catalog_item_id": 1, "count": "2"}, 7]
    ) == [
        "phone_number",
        "cart_items.0.catalog_item_id",
        "cart_items.0.count",
        "cart_items.2.catalog_item_id",
        "cart_items.2.count",
        "cart_items.3",
    ]
    unknown = [{"catalog_item_id": id_, "count": 1} for id_ in ("cat_none", live)]
    assert await wrong(cart_items=[*unknown, one | {"count": 1.5}]) == [
        "cart_items.0.catalog_item_id",
        "cart_items.1.catalog_item_id",
        "cart_items.2.count",
    ]
    assert await wrong(cart_items=[one, {"catalog_item_id": kilos, "count": 0.4}]) == ["cart_items.1"]
    assert await wrong(cart_items=[one | {"price": 99999999.99, "count": 2}]) == ["cart_items.0"]
    agreed = await shop.test.post(
        "/api/v1/invoices", json={"phone_number": fresh_phone(), "cart_items": [one], "amount": 100.00}
    )
    assert agreed.status_code == 201, agreed.text


async def test_what_is_wrong_with_a_refund_by_item_is_named(shop: Shop) -> None:
    (tea,) = await stocked(shop, ("Чай", 100, "piece"), sandbox=True)
    made = await shop.sandbox_bill(amount=None, cart_items=[{"catalog_item_id": tea, "count": 2}])
    plain = await shop.sandbox_bill()
    for invoice in (made, plain):
        assert (await shop.simulate(invoice["id"], "paid")).status_code == 200

    async def wrong(invoice: dict[str, Any], **fields: object) -> list[str]:
        answer = await shop.test.post(f"/api/v1/invoices/{invoice['id']}/refund", json=fields)
        return [error["field"] for error in assert_error(answer, Code.INVALID_REQUEST)["errors"]]

    assert await wrong(plain, items=[{"position": 1}]) == ["items.0.position"]
    assert await wrong(made, items=[]) == ["items"]
    assert await wrong(made, items=[{"position": 1}, {"position": 1}]) == ["items"]
    assert await wrong(made, items=[{"position": 1}], amount=1) == ["amount", "items"]
    assert await wrong(made, items=[{"position": 1, "count": 0.5}, {"position": 2}, {"position": 0, "amount": 0}]) == [
        "items.2.position",
        "items.2.amount",
    ]
    assert await wrong(made, items=[{"position": 1, "count": 0.5}, {"position": 2}]) == [
        "items.0.count",
        "items.1.position",
    ]
    assert await wrong(made, items=[{"position": 1, "count": 1, "amount": 1}]) == ["items.0.count", "items.0.amount"]
    key = {"Idempotency-Key": fresh_key()}
    path = f"/api/v1/invoices/{made['id']}/refund"
    first = await shop.test.post(path, json={"items": [{"position": 1, "count": 1}]}, headers=key)
    again = await shop.test.post(path, json={"items": [{"position": 1, "count": 1.0}]}, headers=key)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    other = await shop.test.post(path, json={"items": [{"position": 1, "count": 2}]}, headers=key)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)
