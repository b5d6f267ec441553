"""The test contour's own calls, test/payment/*: a payer without a phone (fact sheet §2.5)."""

from collections.abc import Callable

from emulator import bank_payments, codes, purchases
from emulator.model import Purchase
from emulator.wire import BankRequest
from emulator.world import World


def scan(world: World, request: BankRequest) -> None:
    _act(world, request, purchases.scan)


def confirm(world: World, request: BankRequest) -> None:
    _act(world, request, purchases.confirm)


def scan_error(world: World, request: BankRequest) -> None:
    _act(world, request, purchases.fail, state="created")


def confirm_error(world: World, request: BankRequest) -> None:
    """Only after a successful scan."""
    _act(world, request, purchases.fail, state="waiting")


def _act(world: World, request: BankRequest, act: Callable[[World, Purchase], None], state: str | None = None) -> None:
    purchase = bank_payments.visible(world, request, request.number("qrPaymentId"), codes.PURCHASE_NOT_FOUND)
    # "Nothing for remote invoices" [G].
    if purchase.kind == "remote":
        raise codes.RefusalError(codes.PURCHASE_NOT_FOUND)
    if state is not None and purchase.state != state:
        raise codes.RefusalError(codes.WRONG_PURCHASE_STATUS)
    try:
        act(world, purchase)
    except purchases.ImpossibleError as error:
        raise codes.RefusalError(codes.WRONG_PURCHASE_STATUS) from error
