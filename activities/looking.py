"""What the bank says of a payment this moment, for an operator who has to decide; nothing is booked."""

from typing import TYPE_CHECKING

import msgspec
from temporalio import activity

from activities.bank_calls import PaymentRef
from kaspi.errors import KaspiError

if TYPE_CHECKING:
    from activities.gateways import Banks


class BankView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The bank's status word with what it means to us, and its sums in tiyn; `no_…` says why one is missing."""

    word: str | None = None
    verdict: str | None = None
    amount: int | None = None
    total: int | None = None
    available: int | None = None
    no_status: str | None = None
    no_sums: str | None = None


class Looking:
    """One activity: two reads, each of which may fail by itself."""

    def __init__(self, banks: "Banks") -> None:
        self._banks = banks

    @activity.defn(name="kaspi.look")
    async def look(self, payment: PaymentRef) -> BankView:
        """Never fails for what the bank does: that it does not answer is an answer to the operator."""
        view = BankView()
        try:
            bank = await self._banks.of(payment.merchant_id, payment.connection_id)
        except KaspiError as error:
            return BankView(no_status=str(error), no_sums=str(error))
        try:
            fact = await bank.status(payment.payment_id, payment.kind)
            view = BankView(word=fact.word, verdict=fact.verdict.value, amount=fact.amount)
        except KaspiError as error:
            view = BankView(no_status=str(error))
        try:
            sums = await bank.sums(payment.payment_id)
        except KaspiError as error:
            return msgspec.structs.replace(view, no_sums=str(error))
        return msgspec.structs.replace(view, total=sums.total, available=sums.available)
