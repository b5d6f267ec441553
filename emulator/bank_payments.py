"""Payment calls: qr/create, qr/create-link, payment/status v01 and v02 (fact sheet §2.2)."""

from typing import Any, Final

from emulator import callers, codes, life, money, purchases
from emulator.model import Kind, Purchase
from emulator.wire import BankRequest, moment
from emulator.world import World

_METHODS: Final = ["Gold", "Red", "Loan"]


def create_qr(world: World, request: BankRequest) -> dict[str, Any]:
    purchase = _create(world, request, "qr")
    return {
        "QrToken": purchase.qr_token,
        "ExpireDate": moment(purchase.expires_at),
        "QrPaymentId": purchase.id,
        "PaymentMethods": _METHODS,
        "QrPaymentBehaviorOptions": _behavior(world, "QrCodeScanWaitTimeout"),
    }


def create_link(world: World, request: BankRequest) -> dict[str, Any]:
    purchase = _create(world, request, "link")
    return {
        "PaymentLink": purchase.payment_link,
        "ExpireDate": moment(purchase.expires_at),
        "PaymentId": purchase.id,
        "PaymentMethods": _METHODS,
        "PaymentBehaviorOptions": _behavior(world, "LinkActivationWaitTimeout"),
    }


def status(world: World, request: BankRequest) -> dict[str, Any]:
    """v02 adds the details of the payment once it is made."""
    purchase = visible(world, request, request.path_number(), codes.PURCHASE_NOT_FOUND)
    if purchase.kind == "remote":
        _guard(world, purchase)
    answer: dict[str, Any] = {"Status": life.word(purchase, world.now(), world.settings)}
    if request.version == "v02" and purchase.state == "paid":
        answer |= _details(request, purchase)
    return answer


def visible(world: World, request: BankRequest, purchase_id: int, missing: int) -> Purchase:
    """The purchase, if it belongs to one of the caller's organisations; RefusalError `missing` if not."""
    purchase = purchases.get(world, purchase_id)
    if purchase is None or purchase.organization_bin not in request.caller.organizations:
        raise codes.RefusalError(missing)
    return purchase


def _guard(world: World, purchase: Purchase) -> None:
    """The overload protection against status calls that come too often (fact sheet §3.2)."""
    guard = world.settings.remote_poll_guard
    window_ms = round(guard.min_interval_s * 1000)
    key = f"status/{purchase.id}"
    if not guard.enabled or world.rates.admit(key, now=world.now(), window_ms=window_ms, limit=1):
        return
    if guard.answer == "-999":
        raise codes.RefusalError(codes.UNAVAILABLE)
    raise codes.OverloadError(guard.answer)


def _create(world: World, request: BankRequest, kind: Kind) -> Purchase:
    owner = callers.organization(request)
    amount_tiyn = request.amount_tiyn()
    device = callers.device(world, request, owner, inactive=codes.DEVICE_INACTIVE)
    callers.require_open_trade_point(world, device, qr=True)
    return purchases.create(
        world,
        kind=kind,
        device=device,
        amount_tiyn=amount_tiyn,
        external_id=request.optional_text("ExternalId"),
        x_request_id=request.x_request_id,
    )


def _behavior(world: World, scan_timeout_name: str) -> dict[str, int]:
    return {
        "StatusPollingInterval": life.span_s(life.POLL_INTERVAL_S, world.settings),
        scan_timeout_name: life.span_s(life.SCAN_TIMEOUT_S, world.settings),
        "PaymentConfirmationTimeout": life.span_s(life.CONFIRM_TIMEOUT_S, world.settings),
    }


def _details(request: BankRequest, purchase: Purchase) -> dict[str, Any]:
    # Every fifth purchase is on credit, so that nobody relies on the loan fields being there or not.
    loan = purchase.id % 5 == 0
    answer: dict[str, Any] = {
        "TransactionId": str(purchase.id * 7 + 3),
        "Amount": money.wire(purchase.amount_tiyn),
        "ProductType": "Loan" if loan else "Gold",
        "IsOffer": False,
        "StoreName": request.caller.organizations[purchase.organization_bin].name,
        "Address": "пр. Абая, 1",
        "City": "Алматы",
    }
    return answer | ({"LoanOfferName": "Рассрочка", "LoanTerm": 3} if loan else {})
