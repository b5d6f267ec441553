"""One invoice (or bank connection) on the stage: what its bank and its receivers will say, and what they were asked."""

import asyncio
from collections import defaultdict, deque
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import msgspec
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import failures
from activities.adopting import AdoptPayment
from activities.bank_calls import PaymentRef
from activities.delivering import TestEndpoint
from activities.issuing import IssueOutcome
from activities.looking import BankView
from activities.watching import WatchConnection, WatchEnded
from domain.bank import BankFact, Verdict
from domain.event import Attempted, DeliveryState
from domain.invoice import Attention, Booked, Change, DeliveryRef, Issued, Kind, OpenInvoice, Reason, State
from domain.merchant import Health
from tests.workflows.book import Book

LIFETIME = timedelta(seconds=180)
LATE_WATCH = timedelta(hours=1)
AMOUNT = 150_000
PAYMENT = 7_001
PHONE = "77011234567"
DESCRIPTION = "Кофе для Айгуль"

DELIVERED = Attempted(state=DeliveryState.DELIVERED, attempts=1)
DEAD = Attempted(state=DeliveryState.DEAD, attempts=9)


def pending(wait: float = 30.0) -> Attempted:
    return Attempted(state=DeliveryState.PENDING, attempts=1, retry_after=wait)


def fact(verdict: Verdict, *, word: str | None = None, amount: int | None = None) -> BankFact:
    return BankFact(word=word or f"Word{verdict}", verdict=verdict, seen_at=datetime.now(UTC), amount=amount)


def away(type_: str = failures.BANK_UNAVAILABLE) -> ApplicationError:
    """The bank does not answer a read; asking again is right."""
    return ApplicationError(type_, type=type_)


def final(type_: str) -> ApplicationError:
    """An answer that no repeat will change."""
    return ApplicationError(type_, type=type_, non_retryable=True)


MISSED = final(failures.WINDOW_MISSED)

IssueAnswer: TypeAlias = ApplicationError | Reason | Attention | str


class Scene:
    """Answers are used up in turn; when none is left the bank says "waiting" and receivers accept."""

    def __init__(self, name: str, kind: Kind, *, is_sandbox: bool, endpoints: list[str]) -> None:
        now = datetime.now(UTC)
        self._name, self._news = name, 0
        self.order = OpenInvoice(
            invoice_id=f"inv_{name}",
            merchant_id=f"mer_{name}",
            kind=kind,
            is_sandbox=is_sandbox,
            amount=AMOUNT,
            issue_before=now + timedelta(seconds=20),
            answer_by=now + timedelta(seconds=25),
            fingerprint="f" * 64,
            operation="create_invoice",
            request_id="req_1",
            late_watch=LATE_WATCH.total_seconds(),
            connection_id=None if is_sandbox else f"con_{name}",
            phone=PHONE if kind is Kind.PHONE else None,
            description=DESCRIPTION,
        )
        # False: an attempt that failed cannot start the delivery's own workflow.
        self.engine_hears = True
        # False: it starts it, and never hears of that.
        self.engine_answers = True
        self.book = Book(self.order, endpoints)
        self.issue_answers: deque[IssueAnswer] = deque()
        self.looks: deque[BankFact | ApplicationError] = deque()
        self.read: list[PaymentRef] = []
        self.cancels: deque[Verdict | ApplicationError] = deque()
        self.adoptions: deque[ApplicationError] = deque()
        self.posts: dict[str, deque[Attempted | ApplicationError]] = defaultdict(deque)
        self.tellings: list[list[str]] = []
        self.watches: deque[WatchEnded] = deque()
        self.bank_open = asyncio.Event()
        self.bank_open.set()
        self.database_open = asyncio.Event()
        self.database_open.set()
        self.write_failures: deque[ApplicationError] = deque()
        self.bank_reads_open = asyncio.Event()
        self.bank_reads_open.set()
        self.receivers_open = asyncio.Event()
        self.receivers_open.set()
        self.windows: list[datetime] = []
        self.asked: list[str] = []
        self.decisions: list[tuple[str, str | None]] = []
        self._changed = asyncio.Condition()

    async def heard(self, what: str) -> None:
        """Notes that an outside room was asked."""
        async with self._changed:
            self.asked.append(what)
            self._changed.notify_all()

    async def until_asked(self, what: str, times: int = 1) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.asked.count(what) >= times)

    async def until_booked(self, cause: str) -> None:
        """Returns when the book has the line; the workflow may not have heard of it yet."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: cause in self.causes)

    @property
    def causes(self) -> list[str]:
        return [entry.cause for entry in self.book.entries]

    async def issue(self, order: OpenInvoice) -> IssueOutcome:
        self.windows.append(order.issue_before)
        await self.heard("issue")
        if self.book.entries:
            return IssueOutcome(booked=self.book.standing())
        await self.bank_open.wait()
        answer = self.issue_answers.popleft() if self.issue_answers else "issued"
        if isinstance(answer, ApplicationError):
            raise answer
        change = self._issued_change(answer)
        if answer == "unwritten":
            return IssueOutcome(unwritten=change)
        return IssueOutcome(booked=self.book.book(change))

    def _issued_change(self, answer: Reason | Attention | str) -> Change:
        change = Change(invoice_id=self.order.invoice_id, merchant_id=self.order.merchant_id, cause="issued")
        if isinstance(answer, Reason):
            return msgspec.structs.replace(
                change, cause="not_issued", state=State.FAILED, reason=answer, announce=False
            )
        if isinstance(answer, Attention):
            return msgspec.structs.replace(change, cause="outcome_unknown", attention=answer)
        return msgspec.structs.replace(change, state=State.PENDING, issued=_issued(PAYMENT), announce=False)

    async def write(self, change: Change) -> Booked:
        await self.heard(f"book {change.cause}")
        await self.database_open.wait()
        if self.write_failures:
            raise self.write_failures.popleft()
        if change.operator is not None:
            self.decisions.append((change.operator, change.note))
        async with self._changed:
            booked = self.book.book(change)
            self._changed.notify_all()
        return booked

    async def adopt(self, ask: AdoptPayment) -> Booked:
        await self.heard("adopt")
        await self.bank_reads_open.wait()
        if self.adoptions:
            raise self.adoptions.popleft()
        return self.book.book(
            Change(
                invoice_id=self.order.invoice_id,
                merchant_id=self.order.merchant_id,
                cause="adopted",
                state=State.PENDING,
                issued=_issued(ask.payment.payment_id),
                clear_attention=True,
                requires=Attention.OUTCOME_UNKNOWN,
            )
        )

    async def read_books(self) -> Booked:
        await self.heard("read books")
        return self.book.standing()

    async def view(self) -> BankView:
        await self.heard("view")
        return BankView(word="Processed", verdict="paid", total=AMOUNT, available=AMOUNT)

    async def test(self, order: TestEndpoint) -> list[DeliveryRef]:
        await self.heard("test event")
        return [DeliveryRef(id=f"whd_{self._name}_1_{order.endpoint_id}", endpoint_id=order.endpoint_id)]

    async def watch(self, order: WatchConnection) -> WatchEnded:
        """One ending of the poller; with none left it polls until it is told to stop."""
        self.tellings.append(order.telling)
        await self.heard("watch")
        while not self.watches:
            activity.heartbeat()
            await asyncio.sleep(0.05)
        return self.watches.popleft()

    def health_news(self, health: Health, *endpoints: str) -> WatchEnded:
        """The poller comes back with news for these receivers."""
        self._news += 1
        refs = [DeliveryRef(id=f"whd_{self._name}_{self._news}_{to}", endpoint_id=to) for to in endpoints]
        return WatchEnded(health=health, deliveries=refs)

    async def look(self, payment: PaymentRef) -> BankFact:
        self.read.append(payment)
        await self.heard("look")
        await self.bank_reads_open.wait()
        said = self.looks.popleft() if self.looks else fact(Verdict.WAITING)
        if isinstance(said, ApplicationError):
            raise said
        return said

    async def cancel(self) -> Verdict:
        await self.heard("cancel")
        said = self.cancels.popleft() if self.cancels else Verdict.CANCELED
        if isinstance(said, ApplicationError):
            raise said
        return said

    async def post(self, delivery_id: str) -> Attempted:
        await self.heard(f"post {delivery_id}")
        await self.receivers_open.wait()
        answers = self.posts[delivery_id.rsplit("_", 1)[1]]
        said = answers.popleft() if answers else DELIVERED
        if isinstance(said, ApplicationError):
            raise said
        return said


def _issued(payment_id: int) -> Issued:
    deadline = datetime.now(UTC) + LIFETIME
    return Issued(bank_payment_id=payment_id, expires_at=deadline, deadline=deadline, poll_interval=5.0)
