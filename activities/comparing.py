"""Asking the bank about many payments: at its own pace, a few at once, each read repeated before it counts."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from domain.bank import Verdict
from domain.reconciliation import Ours, Theirs
from domain.refund import Sums
from kaspi.errors import KaspiMisconfigured, KaspiNotFound, KaspiOutcomeUnknown, KaspiRefused, KaspiUnavailable

if TYPE_CHECKING:
    from activities.gateways import Bank, Banks

# A hiccup of one read among thousands must not cost a batch; what lasts longer is an absence.
READ_PAUSES = (0.3, 1.0, 3.0)

T = TypeVar("T")


class Pace:
    """Turns at a steady rate, so that the poller and the payers keep their share of the bank."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Returns when the next call may be made."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next + self._gap, now)
        await asyncio.sleep(self._next - now)


class Comparing:
    """Reads payments for one reconciliation; raises the errors of `kaspi.errors` when the bank is away."""

    def __init__(self, banks: "Banks", *, calls_per_second: float, concurrency: int) -> None:
        self._banks = banks
        self._pace = Pace(calls_per_second)
        self._slots = asyncio.Semaphore(concurrency)

    async def look_at(self, merchant_id: str, payments: Sequence[Ours]) -> dict[int, Theirs | None]:
        """What the bank says of each, by its id there; None where it does not know the id. All, or an error."""
        looks = [self._look(merchant_id, ours) for ours in payments]
        found = await _all(looks)
        return {ours.bank_payment_id: theirs for ours, theirs in zip(payments, found, strict=True)}

    async def _look(self, merchant_id: str, ours: Ours) -> Theirs | None:
        async with self._slots:
            bank = await self._banks.of(merchant_id, ours.connection_id)
            for pause in (*READ_PAUSES, None):
                try:
                    return await self._read(bank, ours)
                except KaspiMisconfigured:
                    raise
                except (KaspiUnavailable, KaspiOutcomeUnknown):
                    if pause is None:
                        raise
                    await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _read(self, bank: "Bank", ours: Ours) -> Theirs | None:
        await self._pace.turn()
        try:
            fact = await bank.status(ours.bank_payment_id, ours.kind)
        except KaspiNotFound:
            return None
        paid = fact.verdict is Verdict.PAID
        return Theirs(fact=fact, sums=await self._sums(bank, ours) if paid else None)

    async def _sums(self, bank: "Bank", ours: Ours) -> Sums | None:
        """None where the bank has no sums for us: r1 has no such call, and it may refuse it for one payment."""
        await self._pace.turn()
        try:
            return await bank.sums(ours.bank_payment_id)
        except KaspiRefused:
            return None


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Every result; the first error ends the rest at once."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
