"""Asking the poller for looks, and waiting for what it does."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from tests.activities.town import Poller, Town
from tests.db.books import Shop


async def look_at(town: Town, shop: Shop, *invoice_ids: str) -> dict[str, datetime]:
    """Asks for a look now."""
    asked = await town.books.watches.request(shop.id, list(invoice_ids))
    assert asked.keys() == set(invoice_ids)
    return asked


Check = Callable[[], Awaitable[bool]]


def tried(shop: Shop, *invoice_ids: str) -> Check:
    """The looks that were asked for are over, whatever came of them."""

    async def check() -> bool:
        watches = [await shop.watch(invoice_id) for invoice_id in invoice_ids]
        return all(watch is not None and watch["requested_at"] is None for watch in watches)

    return check


async def unanswered(town: Town, shop: Shop, asked: dict[str, datetime]) -> list[str]:
    return await town.books.watches.unanswered(shop.id, asked)


def left_alone(shop: Shop, invoice_id: str, seconds: float, *, since: datetime) -> Check:
    """No look comes for so long, counted from a moment that was before the bank's answer."""

    async def check() -> bool:
        watch = await shop.watch(invoice_id)
        return watch is not None and watch["next_check_at"] > since + timedelta(seconds=seconds)

    return check


def checked(shop: Shop, invoice_id: str, checks: int) -> Check:
    async def check() -> bool:
        watch = await shop.watch(invoice_id)
        return watch is not None and watch["checks"] == checks

    return check


def unscheduled(shop: Shop, invoice_id: str) -> Check:
    async def check() -> bool:
        watch = await shop.watch(invoice_id)
        return watch is not None and watch["next_check_at"] is None

    return check


async def last_good(shop: Shop) -> datetime:
    (row,) = await shop.books.fetch("select last_ok_at from connections where id = :id", id=shop.connection_id)
    moment: datetime = row["last_ok_at"]
    return moment


def noted(shop: Shop, before: datetime) -> Check:
    """The poller has told the books that the bank answers."""

    async def check() -> bool:
        return await last_good(shop) > before

    return check


def beaten(poller: Poller, times: int) -> Check:
    async def check() -> bool:
        return poller.heartbeats >= times

    return check


async def looked(town: Town, shop: Shop, poller: Poller, *invoice_ids: str) -> dict[str, datetime]:
    asked = await look_at(town, shop, *invoice_ids)
    await poller.until(tried(shop, *invoice_ids))
    return asked
