"""An operator names the bank payment of an invoice whose create had an unknown outcome."""

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from temporalio import activity

from activities.bank_calls import PaymentRef, translated
from activities.failures import BANK_REFUSED, failure
from db.errors import BankPaymentTaken
from domain.invoice import Attention, Booked, Change, Issued, OpenInvoice, State
from domain.policy import DEFAULT_POLL_INTERVAL, PHONE_DEADLINE_GRACE
from kaspi.errors import KaspiError, KaspiRefused

if TYPE_CHECKING:
    from activities.gateways import Banks
    from db.ledger import Ledger


class AdoptPayment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payment at the bank, and the invoice it is said to belong to; `operator` says so, and why in `note`."""

    payment: PaymentRef
    order: OpenInvoice
    operator: str | None = None
    note: str | None = None


class Adopting:
    """Nothing is taken on trust: the bank must know the payment, and its amount must be ours where it says one."""

    def __init__(self, banks: "Banks", ledger: "Ledger", phone_lifetime: timedelta) -> None:
        self._banks = banks
        self._ledger = ledger
        self._phone_lifetime = phone_lifetime

    @activity.defn(name="invoice.adopt")
    async def adopt(self, ask: AdoptPayment) -> Booked:
        """Books the invoice as issued with this payment; `KaspiRefused` when it cannot be ours."""
        payment, order = ask.payment, ask.order
        try:
            bank = await self._banks.of(payment.merchant_id, payment.connection_id, payment.acted)
            fact = await bank.status(payment.payment_id, payment.kind)
        except KaspiError as error:
            raise translated(error, writing=False) from error
        if fact.amount is not None and fact.amount != order.amount:
            raise failure(KaspiRefused("payment/status", "amount_differs"), BANK_REFUSED, retryable=False)
        expires = order.issue_before + self._phone_lifetime
        issued = Issued(
            bank_payment_id=payment.payment_id,
            expires_at=expires,
            deadline=expires + PHONE_DEADLINE_GRACE,
            poll_interval=DEFAULT_POLL_INTERVAL,
        )
        change = Change(
            invoice_id=order.invoice_id,
            merchant_id=order.merchant_id,
            cause="adopted",
            state=State.PENDING,
            issued=issued,
            clear_attention=True,
            requires=Attention.OUTCOME_UNKNOWN,
            operator=ask.operator,
            note=ask.note,
        )
        try:
            return await self._ledger.book(change)
        except BankPaymentTaken as error:
            raise failure(error, BANK_REFUSED, retryable=False) from error
