"""The books as the admin API shows them: amounts in both notations, the bank's word, ISO times in UTC."""

from typing import Any, Final

from emulator import life
from emulator.bank_remote import normal_phone
from emulator.model import Purchase, Refund, ReturnQr
from emulator.money import tenge
from emulator.wire import utc
from emulator.world import World

_PURCHASES: Final = """
SELECT * FROM purchases
WHERE (:phone IS NULL OR phone = :phone)
  AND (:comment IS NULL OR instr(coalesce(comment, ''), :comment) > 0)
  AND (:external_id IS NULL OR external_id = :external_id)
ORDER BY id DESC LIMIT :limit
"""
_REFUNDS: Final = """
SELECT refunds.* FROM refunds JOIN purchases ON purchases.id = purchase_id
WHERE (:phone IS NULL OR phone = :phone)
  AND (:comment IS NULL OR instr(coalesce(comment, ''), :comment) > 0)
  AND (:external_id IS NULL OR external_id = :external_id)
ORDER BY refunds.id
"""
_TOTALS: Final = """
SELECT count(*) AS purchases, count(*) FILTER (WHERE payments > 0) AS paid,
  coalesce(sum(amount_tiyn * payments), 0) AS paid_tiyn, coalesce(sum(refunded_tiyn), 0) AS refunded_tiyn
FROM purchases
WHERE (:phone IS NULL OR phone = :phone)
  AND (:comment IS NULL OR instr(coalesce(comment, ''), :comment) > 0)
  AND (:external_id IS NULL OR external_id = :external_id)
"""


class Filter:
    """Which purchases the ledger shows; `limit` keeps the newest so many."""

    def __init__(
        self,
        phone: str | None = None,
        comment_contains: str | None = None,
        external_id: str | None = None,
        limit: int | None = None,
    ) -> None:
        digits = phone.strip().removeprefix("+") if phone is not None else None
        self.values: dict[str, Any] = {
            "phone": (normal_phone(digits) or digits) if digits is not None else None,
            "comment": comment_contains,
            "external_id": external_id,
            "limit": -1 if limit is None else limit,
        }


def ledger(world: World, wanted: Filter) -> dict[str, Any]:
    """Purchases and refunds oldest first. The limit cuts the purchases only: totals and refunds stay whole."""
    purchases = world.store.many(Purchase, _PURCHASES, wanted.values)
    refunds = world.store.many(Refund, _REFUNDS, wanted.values)
    (totals,) = world.store.rows(_TOTALS, wanted.values)
    return {
        "purchases": [purchase_view(world, purchase) for purchase in reversed(purchases)],
        "refunds": [refund_view(refund) for refund in refunds],
        "totals": totals,
    }


def purchase_view(world: World, purchase: Purchase) -> dict[str, Any]:
    now = world.now()
    expires_at = purchase.confirm_by if purchase.state == "waiting" else purchase.expires_at
    return {
        "id": purchase.id,
        "kind": purchase.kind,
        "organization_bin": purchase.organization_bin,
        "trade_point_id": purchase.trade_point_id,
        "device_token": purchase.device_token,
        "amount": tenge(purchase.amount_tiyn),
        "amount_tiyn": purchase.amount_tiyn,
        "status": life.word(purchase, now, world.settings),
        "open": purchase.state in ("created", "waiting") and not life.overdue(purchase, now),
        "phone": purchase.phone,
        "comment": purchase.comment,
        "external_id": purchase.external_id,
        "x_request_id": purchase.x_request_id,
        "created_at": utc(purchase.created_at),
        "paid_at": _utc(purchase.paid_at),
        "expires_at": _utc(expires_at),
        "payments": purchase.payments,
        "refunded_tiyn": purchase.refunded_tiyn,
        "qr_token": purchase.qr_token,
        "payment_link": purchase.payment_link,
    }


def refund_view(refund: Refund) -> dict[str, Any]:
    return {
        "id": refund.id,
        "purchase_id": refund.purchase_id,
        "amount": tenge(refund.amount_tiyn),
        "amount_tiyn": refund.amount_tiyn,
        "source": refund.source,
        "device_token": refund.device_token,
        "return_id": refund.return_id,
        "x_request_id": refund.x_request_id,
        "created_at": utc(refund.created_at),
    }


def return_view(world: World, request: ReturnQr) -> dict[str, Any]:
    return {
        "id": request.id,
        "organization_bin": request.organization_bin,
        "device_token": request.device_token,
        "external_id": request.external_id,
        "qr_token": request.qr_token,
        "status": life.return_word(request, world.now()),
        "phone": request.phone,
        "created_at": utc(request.created_at),
        "expires_at": utc(request.expires_at),
    }


def _utc(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else utc(milliseconds)
