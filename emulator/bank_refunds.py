"""Refund calls: return/* (r2), payment/details and payment/return (r2, r3) (fact sheet §2.3, §2.4)."""

from typing import Any, Final

from emulator import bank_payments, callers, codes, life, money, purchases
from emulator.model import Purchase, ReturnQr
from emulator.wire import BankRequest, moment
from emulator.world import World

_MOST_OPERATIONS: Final = 10


def create_return(world: World, request: BankRequest) -> dict[str, Any]:
    owner = callers.organization(request)
    device = callers.device(world, request, owner, inactive=codes.DEVICE_INACTIVE)
    callers.require_open_trade_point(world, device, qr=False)
    made = purchases.create_return(world, device, request.optional_text("ExternalId"))
    return {
        "QrToken": made.qr_token,
        "ExpireDate": moment(made.expires_at),
        "QrReturnId": made.id,
        "QrReturnBehaviorOptions": {
            "QrCodeScanEventPollingInterval": life.span_s(life.POLL_INTERVAL_S, world.settings),
            "QrCodeScanWaitTimeout": life.span_s(life.SCAN_TIMEOUT_S, world.settings),
        },
    }


def return_status(world: World, request: BankRequest) -> dict[str, Any]:
    return {"Status": life.return_word(_return(world, request, request.path_number()), world.now())}


def operations(world: World, request: BankRequest) -> list[dict[str, Any]]:
    """The latest paid purchases of the customer who scanned, newest first."""
    callers.device(world, request, inactive=codes.DEVICE_INACTIVE)
    scanned = _identified(world, request)
    wanted = request.optional_number("MaxResult")
    limit = _MOST_OPERATIONS if wanted is None else max(1, min(wanted, _MOST_OPERATIONS))
    found = world.store.many(
        Purchase,
        "SELECT * FROM purchases WHERE organization_bin = ? AND phone = ? AND state = 'paid'"
        " ORDER BY paid_at DESC, id DESC LIMIT ?",
        (scanned.organization_bin, scanned.phone, limit),
    )
    return [
        {
            "QrPaymentId": purchase.id,
            "TransactionDate": moment(purchase.paid_at or purchase.created_at),
            "Amount": money.wire(purchase.amount_tiyn),
        }
        for purchase in found
    ]


def details(world: World, request: BankRequest) -> dict[str, Any]:
    """Before the payment AvailableReturnAmount is 0 (unspecified in the guide)."""
    purchase_id = request.number("QrPaymentId")
    callers.device(world, request, inactive=codes.DEVICE_INACTIVE)
    purchase = bank_payments.visible(world, request, purchase_id, codes.PURCHASE_NOT_FOUND)
    return {
        "QrPaymentId": purchase.id,
        "TotalAmount": money.wire(purchase.amount_tiyn),
        "AvailableReturnAmount": money.wire(purchases.available_tiyn(world, purchase)),
        "TransactionDate": moment(purchase.paid_at or purchase.created_at),
    }


def give_back(world: World, request: BankRequest) -> dict[str, Any]:
    """payment/return. One scanned refund QR may serve several refunds: undocumented, so the less kind reading."""
    owner = callers.organization(request)
    purchase_id = request.number("QrPaymentId")
    return_id = request.number("QrReturnId") if request.caller.scheme == "r2" else None
    amount_tiyn = request.amount_tiyn()
    device = callers.device(world, request, owner, inactive=codes.DEVICE_INACTIVE)
    callers.require_open_trade_point(world, device, qr=False)
    purchase = bank_payments.visible(world, request, purchase_id, codes.PURCHASE_NOT_FOUND)
    if purchase.organization_bin != owner.bin:
        raise codes.RefusalError(codes.PURCHASE_NOT_FOUND)
    if return_id is not None and _identified(world, request).phone != purchase.phone:
        raise codes.RefusalError(codes.PURCHASE_NOT_FOUND)
    if purchase.trade_point_id != device.trade_point_id:
        raise codes.RefusalError(codes.FOREIGN_TRADE_POINT)
    if purchase.state != "paid":
        raise codes.RefusalError(codes.WRONG_PURCHASE_STATUS)
    # The bank knows its own books at once, whatever payment/details still shows.
    if amount_tiyn > purchase.amount_tiyn - purchase.refunded_tiyn:
        raise codes.RefusalError(codes.REFUND_TOO_LARGE)
    refund_id = purchases.refund(
        world,
        purchase,
        amount_tiyn,
        device_token=device.token,
        return_id=return_id,
        x_request_id=request.x_request_id,
    )
    return {"ReturnOperationId": refund_id}


def _return(world: World, request: BankRequest, return_id: int) -> ReturnQr:
    found = purchases.get_return(world, return_id)
    if found is None or found.organization_bin not in request.caller.organizations:
        raise codes.RefusalError(codes.PURCHASE_NOT_FOUND)
    return found


def _identified(world: World, request: BankRequest) -> ReturnQr:
    scanned = _return(world, request, request.number("QrReturnId"))
    if scanned.phone is None:
        raise codes.RefusalError(codes.WRONG_PURCHASE_STATUS)
    return scanned
