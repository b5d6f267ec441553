"""Invoices to a phone, r3 only: remote/client-info, remote/create, remote/cancel (fact sheet §2.4)."""

import re
from typing import Any, Final

from emulator import bank_payments, callers, codes, purchases
from emulator.wire import BankRequest
from emulator.world import World

_PHONE: Final = re.compile(r"[78]\d{10}")
_MINUTE_MS: Final = 60_000
_NAMES: Final = ("Айгерим Сапарова", "Данияр Ахметов", "Жанна Оспанова", "Ержан Кенесов", "Мадина Турсунова")


def normal_phone(text: str) -> str | None:
    """8XXXXXXXXXX or 7XXXXXXXXXX → 7XXXXXXXXXX; None for anything else ("+" and spaces included)."""
    return "7" + text[1:] if _PHONE.fullmatch(text) else None


def client_info(world: World, request: BankRequest) -> dict[str, Any]:
    """At most `client_info_limit` calls a minute and device; above that -999 (the guide names no code)."""
    phone = request.text("PhoneNumber")
    device = callers.device(world, request, inactive=codes.DEVICE_NOT_FOUND)
    limit = world.settings.client_info_limit
    if not world.rates.admit(f"client-info/{device.token}", now=world.now(), window_ms=_MINUTE_MS, limit=limit):
        raise codes.RefusalError(codes.UNAVAILABLE)
    known = _client(world, phone)
    return {"ClientName": _NAMES[int(known) % len(_NAMES)]}


def create(world: World, request: BankRequest) -> dict[str, Any]:
    owner = callers.organization(request)
    phone = request.text("PhoneNumber")
    amount_tiyn = request.amount_tiyn()
    device = callers.device(world, request, owner, inactive=codes.DEVICE_NOT_FOUND)
    callers.require_open_trade_point(world, device, qr=False)
    purchase = purchases.create(
        world,
        kind="remote",
        device=device,
        amount_tiyn=amount_tiyn,
        phone=_client(world, phone),
        comment=request.optional_text("Comment"),
        x_request_id=request.x_request_id,
    )
    return {"QrPaymentId": purchase.id}


def cancel(world: World, request: BankRequest) -> dict[str, Any]:
    """Cancelling again what is cancelled succeeds; what is paid, refused or over gives -99000011 (our guess)."""
    owner = callers.organization(request)
    purchase_id = request.number("QrPaymentId")
    callers.device(world, request, owner, inactive=codes.DEVICE_NOT_FOUND)
    purchase = bank_payments.visible(world, request, purchase_id, codes.PURCHASE_ID_NOT_FOUND)
    if purchase.kind != "remote" or purchase.organization_bin != owner.bin:
        raise codes.RefusalError(codes.PURCHASE_ID_NOT_FOUND)
    if purchase.state != "canceled":
        try:
            purchases.cancel(world, purchase)
        except purchases.ImpossibleError as error:
            raise codes.RefusalError(codes.WRONG_PURCHASE_STATUS) from error
    return {"Status": "RemotePaymentCanceled"}


def _client(world: World, phone: str) -> str:
    known = normal_phone(phone)
    if known is None or known in {normal_phone(other) for other in world.settings.unknown_phones}:
        raise codes.RefusalError(codes.UNKNOWN_PHONE)
    return known
