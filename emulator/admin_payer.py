"""Admin calls about money: the ledger, what the payer does, what the cashier refunds."""

from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.exceptions import ClientException, HTTPException, NotFoundException

from emulator import ledger, money, purchases
from emulator.bank_remote import normal_phone
from emulator.model import Purchase, Refund, ReturnQr
from emulator.world import World


class Payer(msgspec.Struct, forbid_unknown_fields=True):
    """Who scans; without it the demo payer."""

    phone: str = purchases.DEMO_PAYER

    def number(self) -> str:
        phone = normal_phone(self.phone.removeprefix("+"))
        if phone is None:
            raise ClientException("phone: 11 digits, 7XXXXXXXXXX or 8XXXXXXXXXX")
        return phone


class CashierRefund(msgspec.Struct, forbid_unknown_fields=True):
    """Tenge as text, "50.00"."""

    amount: str


@get("/emulator/ledger", sync_to_thread=False)
def read_ledger(
    world: World,
    phone: str | None = None,
    comment_contains: str | None = None,
    external_id: str | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    return ledger.ledger(world, ledger.Filter(phone, comment_contains, external_id, limit))


@get("/emulator/purchases/{purchase_id:int}", sync_to_thread=False)
def read_purchase(world: World, purchase_id: int) -> dict[str, Any]:
    return _purchase_answer(world, purchase_id)


@post("/emulator/purchases/{purchase_id:int}/{action:str}", status_code=200, sync_to_thread=False)
def act(world: World, purchase_id: int, action: str, data: Payer | None = None, late: bool = False) -> dict[str, Any]:
    """The payer (or time) does something; answers the purchase as it is now. 409: impossible, nothing changed."""
    purchase = _purchase(world, purchase_id)
    payer = (data or Payer()).number()
    with world.store.transaction():
        try:
            match action:
                case "scan":
                    purchases.scan(world, purchase, payer)
                case "confirm":
                    purchases.confirm(world, purchase)
                case "pay":
                    purchases.pay(world, purchase, payer, late=late)
                case "fail":
                    purchases.fail(world, purchase)
                case "reject":
                    purchases.reject(world, purchase)
                case "expire":
                    purchases.expire(world, purchase)
                case _:
                    raise NotFoundException(f"no such action: {action}")
        except purchases.ImpossibleError as error:
            raise HTTPException(status_code=409, detail=str(error)) from error
    return _purchase_answer(world, purchase_id)


@post("/emulator/purchases/{purchase_id:int}/refund", status_code=201, sync_to_thread=False)
def refund_at_the_till(world: World, purchase_id: int, data: CashierRefund) -> dict[str, Any]:
    """The cashier gives money back in the bank's own app, behind the merchant's back."""
    purchase = _purchase(world, purchase_id)
    try:
        amount_tiyn = money.tiyn(data.amount)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ClientException("amount: tenge above zero with at most two decimals") from error
    if purchase.state != "paid" or amount_tiyn > purchase.amount_tiyn - purchase.refunded_tiyn:
        raise HTTPException(status_code=409, detail="not paid, or more than is left to refund")
    with world.store.transaction():
        refund_id = purchases.refund(world, purchase, amount_tiyn)
    made = world.store.one(Refund, "SELECT * FROM refunds WHERE id = ?", (refund_id,))
    return {} if made is None else ledger.refund_view(made)


@get("/emulator/returns", sync_to_thread=False)
def read_returns(world: World) -> dict[str, Any]:
    """Refund QRs of the standard scheme, oldest first."""
    found = world.store.many(ReturnQr, "SELECT * FROM returns ORDER BY id")
    return {"returns": [ledger.return_view(world, request) for request in found]}


@post("/emulator/returns/{return_id:int}/{action:str}", status_code=200, sync_to_thread=False)
def act_on_return(world: World, return_id: int, action: str, data: Payer | None = None) -> dict[str, Any]:
    """The customer scans a refund QR, or it fails."""
    request = purchases.get_return(world, return_id)
    if request is None or action not in ("scan", "fail"):
        raise NotFoundException("no such return or action")
    try:
        if action == "scan":
            purchases.scan_return(world, request, (data or Payer()).number())
        else:
            purchases.fail_return(world, request)
    except purchases.ImpossibleError as error:
        raise HTTPException(status_code=409, detail=str(error)) from error
    return ledger.return_view(world, purchases.get_return(world, return_id) or request)


def _purchase(world: World, purchase_id: int) -> Purchase:
    purchase = purchases.get(world, purchase_id)
    if purchase is None:
        raise NotFoundException("no such purchase")
    return purchase


def _purchase_answer(world: World, purchase_id: int) -> dict[str, Any]:
    view = ledger.purchase_view(world, _purchase(world, purchase_id))
    refunds = world.store.many(Refund, "SELECT * FROM refunds WHERE purchase_id = ? ORDER BY id", (purchase_id,))
    return view | {"refunds": [ledger.refund_view(refund) for refund in refunds]}


HANDLERS: Final = [read_ledger, read_purchase, refund_at_the_till, act, read_returns, act_on_return]
