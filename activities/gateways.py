"""What activities need of the outside rooms, as protocols: the composition root hands the real things in."""

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from domain.bank import BankFact, Verdict
from domain.invoice import Issued, Kind, OpenInvoice
from domain.redelivery import Redeliver
from domain.refund import OpenRefund, Sums
from domain.subscription import ChargeRef
from domain.subscription_record import SubscriptionRef

if TYPE_CHECKING:
    from db.reconciliation_links import LinkRef


class Bank(Protocol):
    """A merchant's link to the bank; raises the errors of `kaspi.errors` and tries each call once."""

    async def create(self, order: OpenInvoice) -> Issued:
        """Issues the bill (remote/create, qr/create or qr/create-link)."""

    async def status(self, payment_id: int, kind: Kind) -> BankFact:
        """Reads a payment."""

    async def cancel(self, payment_id: int) -> Verdict:
        """Asks the bank to withdraw a phone invoice; the verdict is what the bank says it is now."""

    async def sums(self, payment_id: int) -> Sums:
        """What was paid and what can still be refunded (payment/details; Kaspi guide §2.3, §2.4; not on r1)."""

    async def give_back(self, payment_id: int, amount: int) -> int:
        """Refunds tiyn of a payment without the customer (payment/return; r3 only); the bank's operation id."""

    async def ping(self) -> None:
        """Returns when the bank answers and knows us."""


class Banks(Protocol):
    """Finds the bank of an invoice."""

    async def of(self, merchant_id: str, connection_id: str | None) -> Bank:
        """The bank behind a connection; None is the sandbox, whose payer is the `simulate` call."""


class Signals(Protocol):
    """The way from a poller to the invoices it watches."""

    async def bank_said(self, invoice_id: str, fact: BankFact) -> bool:
        """Tells an invoice's workflow; False when no such workflow runs."""

    async def resume(self, order: OpenInvoice, fact: BankFact) -> None:
        """Starts the workflow of an invoice that has none any more, with this news: money must find its story."""


class Stories(Signals, Protocol):
    """The way from a reconciliation to the invoices it compares."""

    async def resume_invoice(self, order: OpenInvoice) -> None:
        """Makes sure that the invoice's workflow runs and knows what was booked beside it."""


class Links(Protocol):
    """Every merchant's bank connections."""

    async def to_reconcile(self, *, after: str, days: int) -> list["LinkRef"]:
        """The next connections by id that are in use or had payments in these days; empty at the end."""


class SubscriptionStories(Protocol):
    """What activities of subscriptions ask of Temporal; business refusals come as `TolemError`."""

    async def bill_changed(self, ref: SubscriptionRef, bill: ChargeRef) -> None:
        """Tells a subscription that the books say something new of a bill."""

    async def cancel(self, invoice_id: str, *, wait: float, asked_by: str = "") -> None:
        """Asks the bank to withdraw a bill, through its story."""

    async def simulate(self, invoice_id: str, verdict: Verdict, *, wait: float, asked_by: str = "") -> None:
        """The simulated payer's act."""

    async def advance_subscription(self, ref: SubscriptionRef, to: datetime, *, wait: float) -> "Advanced":
        """Moves a subscription on a test clock, as far as one run of it goes."""


class Advanced(Protocol):
    """How far it came."""

    @property
    def at(self) -> datetime: ...

    @property
    def over(self) -> bool: ...


class Starter(Protocol):
    """What the watchdog asks of Temporal. `kind` is a workflow type; ids are workflow ids."""

    async def running(self, kind: str) -> set[str]:
        """Which of them run, as far as visibility knows by now."""

    async def runs(self, workflow_id: str) -> bool:
        """Whether it runs, by its own record."""

    async def resume_invoice(self, order: OpenInvoice) -> None:
        """Tells an invoice's story again, from the books."""

    async def resume_refund(self, order: OpenRefund) -> None:
        """Tells a refund's story again, from the books."""

    async def watch_connection(self, merchant_id: str, connection_id: str) -> None:
        """Starts a connection's poller."""

    async def continue_delivery(self, merchant_id: str, delivery_id: str, *, wait: float = 0.0) -> None:
        """Starts a webhook's long tail; its first attempt comes after `wait` seconds."""

    async def redeliver(self, order: Redeliver) -> None:
        """Starts a redelivery's workflow; it goes on from the books."""

    async def resume_subscription(self, ref: SubscriptionRef) -> None:
        """Begins a subscription's workflow again, from the books."""

    async def advance_clock(self, merchant_id: str, clock_id: str) -> None:
        """Goes on with a test clock that has not reached its target."""
