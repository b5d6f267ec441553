"""A bill's way: HTTP in, the bank, the payer, a signed webhook out."""

import base64
import re
import zlib
from xml.etree import ElementTree as ET

import httpx
import pytest
import segno

from domain.invoice import bank_reference
from tests.support.inbox import Inbox
from tests.support.shop import Shop, fresh_phone

pytestmark = pytest.mark.stack


async def test_a_paid_phone_bill_is_told_exactly_once(shop: Shop, inbox: Inbox) -> None:
    phone = fresh_phone()
    wanted = {"amount": 10000.5, "phone_number": phone, "description": "Заказ #7", "external_order_id": "order_7"}
    answer = await shop.live.post("/api/v1/invoices", json=wanted)
    assert answer.status_code == 201, answer.text
    invoice = answer.json()
    assert answer.headers["location"] == f"/api/v1/invoices/{invoice['id']}"
    assert invoice["status"] == invoice["state"] == "pending"
    assert (invoice["amount"], invoice["phone_number"]) == ("10000.50", phone)
    assert (invoice["description"], invoice["external_order_id"]) == ("Заказ #7", "order_7")
    assert invoice["is_sandbox"] is False

    (purchase,) = await shop.purchases(phone=phone)
    assert (purchase["kind"], purchase["amount_tiyn"], purchase["open"]) == ("remote", 1_000_050, True)
    assert str(purchase["id"]) == invoice["kaspi_invoice_id"]
    assert purchase["organization_bin"] == shop.bin
    assert purchase["comment"] == f"Заказ #7 · {bank_reference(invoice['id'])}"

    await shop.pay(invoice)
    checked = await shop.check(invoice["id"])
    assert checked["not_found"] == []
    assert checked["items"][0]["checked"] is True
    (told,) = await inbox.wait(invoice["id"], state="paid")
    standing = await shop.read(invoice["id"])
    assert standing["status"] == "paid"
    assert standing["paid_at"]
    assert told.body["type"] == "invoice.status_changed"
    assert told.body["data"]["previous_state"] == "pending"
    assert (told.body["merchant_id"], told.body["is_sandbox"]) == (shop.merchant_id, False)
    assert told.object == standing

    inspected = await shop.settled(invoice["id"])
    assert [(one.state, one.attempts, one.event_id) for one in inspected.told] == [("delivered", 1, told.id)]
    assert len(inbox.about(invoice["id"])) == 1
    (purchase,) = await shop.purchases(phone=phone)
    assert purchase["payments"] == 1


async def test_a_scanned_qr_is_processing_then_paid(shop: Shop, inbox: Inbox) -> None:
    made = await shop.qr(amount=2500, comment="Касса 1", external_order_id="order_8")
    (purchase,) = await shop.purchases(external_id=made["id"])
    assert (purchase["kind"], purchase["amount_tiyn"]) == ("qr", 250_000)
    assert purchase["qr_token"] == made["qr_token"]
    assert made["id"] == made["invoice_id"]
    assert (made["comment"], made["external_order_id"], made["expires_at"] is not None) == ("Касса 1", "order_8", True)
    assert _modules_of_png(made["qr_png"]) == _modules_of(purchase["qr_token"])
    assert ET.fromstring(made["qr_svg"]).tag.endswith("svg")  # noqa: S314 -- our own picture
    page = await shop.live.get(made["payment_url"])
    assert page.status_code == 200
    assert "<svg" in page.text

    await shop.stack.emulator.act(purchase["id"], "scan")
    await shop.until_state(made["id"], "processing")
    await shop.stack.emulator.act(purchase["id"], "confirm")
    standing = await shop.until_state(made["id"], "paid")
    await inbox.wait(made["id"], state="paid")
    await shop.settled(made["id"])
    told = sorted(inbox.about(made["id"]), key=lambda one: one.body["sequence"])
    assert [(one.body["data"]["previous_state"], one.object["state"]) for one in told] == [
        ("pending", "processing"),
        ("processing", "paid"),
    ]
    assert told[0].object["status_reason"] == "payer_confirming"
    assert told[1].object == standing


async def test_a_link_is_opened_at_the_bank_and_paid(shop: Shop, inbox: Inbox) -> None:
    made = await shop.qr(amount=0.01, kind="link")
    (purchase,) = await shop.purchases(external_id=made["id"])
    assert (purchase["kind"], purchase["amount_tiyn"]) == ("link", 1)
    assert made["payment_link"] == made["payment_url"] == purchase["payment_link"]
    assert made["qr_token"] is None
    assert _modules_of_png(made["qr_png"]) == _modules_of(purchase["payment_link"])

    await shop.pay(made)
    standing = await shop.until_state(made["id"], "paid")
    (told,) = await inbox.wait(made["id"], state="paid")
    assert told.object == standing
    assert standing["amount"] == "0.01"


async def test_the_payment_page_tells_the_state_and_no_phone(shop: Shop) -> None:
    invoice = await shop.bill(amount=4321)
    async with httpx.AsyncClient(trust_env=False) as payer:  # whoever has the address: no key
        page = await payer.get(invoice["payment_url"])
        assert page.status_code == 200
        assert "4321.00" in page.text
        assert invoice["phone_number"][1:] not in re.sub(r"\D", "", page.text)
        await shop.pay(invoice)
        await shop.until_state(invoice["id"], "paid")
        assert "Оплачено" in (await payer.get(invoice["payment_url"])).text
        assert (await payer.get(invoice["payment_url"] + "x")).status_code == 404


def _modules_of(content: str) -> list[list[bool]]:
    """Which squares of the code are dark, with its border."""
    return [
        [bool(module) for module in row] for row in segno.make(content, error="m", micro=False).matrix_iter(border=4)
    ]


def _modules_of_png(data_uri: str) -> list[list[bool]]:
    """The same, read back from the picture: 1-bit grey without interlacing, one pixel of each square."""
    raw = base64.b64decode(data_uri.removeprefix("data:image/png;base64,"), validate=True)
    assert raw.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, place = dict[bytes, bytes](), 8
    while place < len(raw):
        length, kind = int.from_bytes(raw[place : place + 4]), raw[place + 4 : place + 8]
        body = raw[place + 8 : place + 8 + length]
        assert zlib.crc32(kind + body) == int.from_bytes(raw[place + 8 + length : place + 12 + length])
        chunks[kind] = chunks.get(kind, b"") + body
        place += 12 + length
    width, height = int.from_bytes(chunks[b"IHDR"][:4]), int.from_bytes(chunks[b"IHDR"][4:8])
    assert chunks[b"IHDR"][8:] == b"\x01\x00\x00\x00\x00"
    pixels, stride = zlib.decompress(chunks[b"IDAT"]), 1 + (width + 7) // 8
    rows, above = list[bytes](), bytes(stride - 1)
    for y in range(height):
        filtered, row = pixels[y * stride], pixels[y * stride + 1 : (y + 1) * stride]
        assert filtered in {0, 2}  # as it is, or what differs from the row above
        above = bytes((a + b) % 256 for a, b in zip(row, above, strict=True)) if filtered else row
        rows.append(above)
    return [[not row[x // 8] >> (7 - x % 8) & 1 for x in range(3, width, 6)] for row in rows[3::6]]
