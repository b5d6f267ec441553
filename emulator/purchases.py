"""Purchases: made by the bank's calls, moved on by the payer (admin API, test calls), refunded."""

import secrets

from emulator import life
from emulator.model import Device, Kind, Purchase, ReturnQr
from emulator.world import World

DEMO_PAYER = "77010000001"
_IDS = range(2**63)  # SQLite cannot even be asked for others


class ImpossibleError(Exception):
    """The payer cannot do that with this purchase now. Nothing changed."""


def create(
    world: World,
    *,
    kind: Kind,
    device: Device,
    amount_tiyn: int,
    phone: str | None = None,
    comment: str | None = None,
    external_id: str | None = None,
    x_request_id: str | None = None,
) -> Purchase:
    now = world.now()
    seconds = life.REMOTE_LIFE_S if kind == "remote" else life.SCAN_TIMEOUT_S
    purchase_id = world.store.insert(
        "purchases",
        kind=kind,
        organization_bin=device.organization_bin,
        trade_point_id=device.trade_point_id,
        device_token=device.token,
        amount_tiyn=amount_tiyn,
        state="created",
        phone=phone,
        comment=comment,
        external_id=external_id,
        x_request_id=x_request_id,
        created_at=now,
        expires_at=now + life.span_ms(seconds, world.settings),
        qr_token=qr_token() if kind == "qr" else None,
        payment_link=f"https://pay.kaspi.kz/pay/{secrets.randbelow(10**18):018d}" if kind == "link" else None,
    )
    return get_known(world, purchase_id)


def qr_token() -> str:
    """What a QR image holds: 41 digits, to be treated as opaque."""
    return f"{secrets.randbelow(9 * 10**40) + 10**40}"


def get(world: World, purchase_id: int) -> Purchase | None:
    if purchase_id not in _IDS:
        return None
    return world.store.one(Purchase, "SELECT * FROM purchases WHERE id = ?", (purchase_id,))


def get_known(world: World, purchase_id: int) -> Purchase:
    purchase = get(world, purchase_id)
    if purchase is None:
        raise LookupError
    return purchase


def scan(world: World, purchase: Purchase, phone: str = DEMO_PAYER) -> None:
    """The payer scans the QR or opens the link: Wait begins."""
    if purchase.kind == "remote":
        raise ImpossibleError("a remote invoice has nothing to scan")
    _require_open(world, purchase, "created")
    confirm_by = world.now() + life.span_ms(life.CONFIRM_TIMEOUT_S, world.settings)
    world.store.execute(
        "UPDATE purchases SET state = 'waiting', phone = ?, confirm_by = ? WHERE id = ?",
        (phone, confirm_by, purchase.id),
    )


def confirm(world: World, purchase: Purchase) -> None:
    """The payer confirms after the scan: the money is taken."""
    _require_open(world, purchase, "waiting")
    _take_money(world, purchase)


def pay(world: World, purchase: Purchase, phone: str = DEMO_PAYER, *, late: bool = False) -> None:
    """All the payer has to do until the money is taken. `late` also pays what is over (a late Processed)."""
    if purchase.state == "paid":
        raise ImpossibleError("already paid")
    if not late:
        _require_open(world, purchase, "created", "waiting")
    if purchase.phone is None:
        world.store.execute("UPDATE purchases SET phone = ? WHERE id = ?", (phone, purchase.id))
    _take_money(world, purchase)


def fail(world: World, purchase: Purchase) -> None:
    """Something goes wrong on the payer's side: Error."""
    _require_open(world, purchase, "created", "waiting")
    world.store.execute("UPDATE purchases SET state = 'failed' WHERE id = ?", (purchase.id,))


def reject(world: World, purchase: Purchase) -> None:
    """The payer says no. For QR and link the bank's word does not tell this from a failure."""
    if purchase.kind != "remote":
        fail(world, purchase)
        return
    _require_open(world, purchase, "created")
    world.store.execute(
        "UPDATE purchases SET state = 'rejected', rejected_word = ? WHERE id = ?",
        (world.settings.reject_word, purchase.id),
    )


def cancel(world: World, purchase: Purchase) -> None:
    """The merchant withdraws a remote invoice."""
    _require_open(world, purchase, "created")
    world.store.execute("UPDATE purchases SET state = 'canceled' WHERE id = ?", (purchase.id,))


def expire(world: World, purchase: Purchase) -> None:
    """Its time is over as of now."""
    _require_open(world, purchase, "created", "waiting")
    column = "confirm_by" if purchase.state == "waiting" else "expires_at"
    world.store.execute(
        f"UPDATE purchases SET {column} = ? WHERE id = ?",  # noqa: S608  # the name is one of two above
        (world.now(), purchase.id),
    )


def refund(
    world: World,
    purchase: Purchase,
    amount_tiyn: int,
    *,
    device_token: str | None = None,
    return_id: int | None = None,
    x_request_id: str | None = None,
) -> int:
    """Gives money back and returns the refund's id; the caller has checked state and rest.

    Without a device it is the cashier, in the bank's own app, behind the merchant's back.
    """
    world.store.execute(
        "UPDATE purchases SET refunded_tiyn = refunded_tiyn + ? WHERE id = ?", (amount_tiyn, purchase.id)
    )
    return world.store.insert(
        "refunds",
        purchase_id=purchase.id,
        amount_tiyn=amount_tiyn,
        source="cashier" if device_token is None else "api",
        device_token=device_token,
        return_id=return_id,
        x_request_id=x_request_id,
        created_at=world.now(),
    )


def available_tiyn(world: World, purchase: Purchase) -> int:
    """What payment/details says can still be refunded; lags behind the truth by `refund_lag_s`."""
    if purchase.state != "paid":
        return 0
    visible_until = world.now() - round(world.settings.refund_lag_s * 1000)
    (row,) = world.store.rows(
        "SELECT COALESCE(SUM(amount_tiyn), 0) AS seen FROM refunds WHERE purchase_id = ? AND created_at <= ?",
        (purchase.id, visible_until),
    )
    return purchase.amount_tiyn - int(row["seen"])


def create_return(world: World, device: Device, external_id: str | None) -> ReturnQr:
    now = world.now()
    return_id = world.store.insert(
        "returns",
        organization_bin=device.organization_bin,
        device_token=device.token,
        external_id=external_id,
        qr_token=qr_token(),
        created_at=now,
        expires_at=now + life.span_ms(life.SCAN_TIMEOUT_S, world.settings),
    )
    request = get_return(world, return_id)
    if request is None:
        raise LookupError
    return request


def get_return(world: World, return_id: int) -> ReturnQr | None:
    if return_id not in _IDS:
        return None
    return world.store.one(ReturnQr, "SELECT * FROM returns WHERE id = ?", (return_id,))


def scan_return(world: World, request: ReturnQr, phone: str = DEMO_PAYER) -> None:
    """The customer scans the refund QR and is known from then on."""
    if life.return_word(request, world.now()) != "QrTokenCreated":
        raise ImpossibleError("the refund QR is over or already scanned")
    world.store.execute("UPDATE returns SET phone = ? WHERE id = ?", (phone, request.id))


def fail_return(world: World, request: ReturnQr) -> None:
    if life.return_word(request, world.now()) != "QrTokenCreated":
        raise ImpossibleError("the refund QR is over or already scanned")
    world.store.execute("UPDATE returns SET failed = 1 WHERE id = ?", (request.id,))


def _require_open(world: World, purchase: Purchase, *states: str) -> None:
    now = world.now()
    if purchase.state not in states or life.overdue(purchase, now):
        raise ImpossibleError(f"the purchase is {life.word(purchase, now, world.settings)}")


def _take_money(world: World, purchase: Purchase) -> None:
    world.store.execute(
        "UPDATE purchases SET state = 'paid', paid_at = ?, payments = payments + 1 WHERE id = ?",
        (world.now(), purchase.id),
    )
