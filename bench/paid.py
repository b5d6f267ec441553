"""Second scenario: from "the bank has the money" to "the merchant's server has heard", with many payments open."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from bench.cpu import CpuMeter, difference
from bench.options import Options
from bench.payments import Inbox, Payer, Payment, Shop
from bench.results_file import Paid, PaidGroup, Polls, percentile
from bench.stack import BenchStack
from bench.wire import BadAnswer
from dev.receiver import WebhookReceiver
from domain.policy import DEFAULT_POLL_INTERVAL

# The emulated bank keeps so many calls; a margin for those that come while its log is read.
_LOG_HOLDS = 19_000

QR, PHONE, CHECKED = "qr", "phone, our schedule", "phone, merchant's check"


class Groups(msgspec.Struct):
    """Who is paid, by how we hear of it."""

    members: dict[str, list[Payment]]

    @classmethod
    def chosen(cls, phone: Sequence[Payment], qr: Sequence[Payment], number: int, chance: random.Random) -> "Groups":
        """A third of `number` of each kind, or as many as there are."""
        third = max(1, number // 3)
        shuffled = chance.sample(phone, len(phone))
        return cls(
            {
                QR: chance.sample(qr, min(third, len(qr))),
                PHONE: shuffled[:third],
                CHECKED: shuffled[third : 2 * third],
            }
        )

    def all(self) -> list[Payment]:
        return [payment for members in self.members.values() for payment in members]


async def measure_paid(options: Options, say: Callable[[str], None]) -> Paid:
    """One run. QR bills live three minutes in the bank: they are opened last, and `window` must end before that."""
    settings = {
        "TOLEM_POLL_CONNECTIONS": str(options.poll_connections),
        "TOLEM_BANK_CALLS_PER_SECOND": str(options.bank_calls_per_second),
    }
    async with BenchStack(settings) as stack, WebhookReceiver() as receiver:
        paid = await _Run(stack, receiver, options, say).go()
        stack.check_alive()
        if paid.failures:
            say(f"end of the API's log:\n{stack.log_tail('api')}\nend of the worker's log:\n{stack.log_tail('worker')}")
        return paid


class _Run:
    def __init__(
        self, stack: BenchStack, receiver: WebhookReceiver, options: Options, say: Callable[[str], None]
    ) -> None:
        self._stack = stack
        self._receiver = receiver
        self._options = options
        self._say = say
        self._shop = Shop(stack)
        self._payer = Payer(stack)
        self._chance = random.Random(options.seed)  # noqa: S311 -- load that can be repeated, not secrets

    async def go(self) -> Paid:
        options = self._options
        await self._shop.register(self._receiver.url)
        await self._payer.bank_takes(options.latency_ms)
        began = time.monotonic()
        phone = await self._shop.open("phone", options.open // 2)
        qr = await self._shop.open("qr", options.open - options.open // 2)
        opening = time.monotonic() - began
        self._say(f"paid: {len(phone)} phone and {len(qr)} QR bills open after {opening:.0f} s")

        groups = Groups.chosen(phone, qr, options.pay, self._chance)
        meter, inbox = CpuMeter(self._stack.pids), Inbox(self._receiver)
        started, before = datetime.now(UTC), meter.read()
        await self._pay(groups)
        ended, used = datetime.now(UTC), difference(before, meter.read())
        self._say(f"paid: {len(_paid(groups.all()))} bills paid, waiting for the last webhooks")
        await inbox.wait_for(_paid(groups.all()), options.patience)
        seconds = (ended - started).total_seconds()
        return Paid(
            opened={"phone": len(phone), "qr": len(qr)},
            opening_seconds=opening,
            groups=[_group(name, members, inbox) for name, members in groups.members.items()],
            polls=await self._polls(qr, started, ended),
            cpu_cores={name: cpu / seconds for name, cpu in used.items()},
            failures=dict(self._shop.failures),
        )

    async def _pay(self, groups: Groups) -> None:
        """Each at a random moment of the window; returns at its end, when every payer has done."""
        window = self._options.window
        checked = {payment.invoice_id for payment in groups.members[CHECKED]}
        moments = [(self._chance.uniform(0, window), payment) for payment in groups.all()]
        await asyncio.gather(
            asyncio.sleep(window),
            *(self._pay_one(moment, payment, check=payment.invoice_id in checked) for moment, payment in moments),
        )

    async def _pay_one(self, moment: float, payment: Payment, *, check: bool) -> None:
        await asyncio.sleep(moment)
        try:
            await self._payer.pay(payment)
        except (OSError, BadAnswer) as error:
            reason = "the bill was over before it was paid" if "409" in str(error) else type(error).__name__
            self._shop.failures[f"paying a {payment.kind} bill: {reason}"] += 1
            return
        if check:
            await self._shop.check(payment)

    async def _polls(self, qr: list[Payment], started: datetime, ended: datetime) -> Polls:
        calls = await self._payer.calls(started)
        inside = [call for call in calls if datetime.fromisoformat(call["at"]) < ended]
        seconds = (ended - started).total_seconds()
        # Each is to be looked at until it is paid; the look that finds it paid belongs to no interval.
        until = {payment.bank_id: payment.paid_at or ended for payment in qr}
        wanted = sum((end - started).total_seconds() for end in until.values()) / DEFAULT_POLL_INTERVAL
        looks = [(call["purchase_id"], datetime.fromisoformat(call["at"])) for call in inside]
        seen = sum(number in until and at < until[number] for number, at in looks)
        return Polls(
            interval_seconds=DEFAULT_POLL_INTERVAL,
            per_second=len(inside) / seconds,
            qr_of_wanted=seen / wanted if wanted and len(calls) < _LOG_HOLDS else None,
        )


def _paid(payments: Sequence[Payment]) -> list[Payment]:
    return [payment for payment in payments if payment.paid_at is not None]


def _group(name: str, members: Sequence[Payment], inbox: Inbox) -> PaidGroup:
    waits = [
        (inbox.arrived[one.invoice_id] - one.paid_at).total_seconds()
        for one in members
        if one.paid_at is not None and one.invoice_id in inbox.arrived
    ]
    return PaidGroup(
        name=name,
        paid=len(_paid(members)),
        arrived=len(waits),
        repeated=sum(inbox.repeated[one.invoice_id] for one in members),
        p50=percentile(waits, 0.5),
        p99=percentile(waits, 0.99),
        max=max(waits, default=None),
    )
