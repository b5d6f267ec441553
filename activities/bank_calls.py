"""Single calls to the bank about an issued payment."""

from typing import TYPE_CHECKING

import msgspec
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.failures import (
    BANK_MISCONFIGURED,
    BANK_NOT_FOUND,
    BANK_REFUSED,
    BANK_UNAVAILABLE,
    BANK_UNKNOWN,
    failure,
)
from activities.heartbeats import beating
from domain.bank import BankFact, Verdict
from domain.invoice import Kind
from domain.scenario import Scene
from kaspi.errors import (
    KaspiError,
    KaspiMisconfigured,
    KaspiNotFound,
    KaspiOutcomeUnknown,
    KaspiRefused,
)

if TYPE_CHECKING:
    from activities.gateways import Banks
    from db.ledger import Ledger


class PaymentRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A payment at the bank and whose it is; no connection means sandbox, and `scene` what it acts out there.

    `asked_by` is the API key that wants it.
    """

    merchant_id: str
    connection_id: str | None
    invoice_id: str
    payment_id: int
    kind: Kind
    asked_by: str = ""
    scene: Scene | None = None

    @property
    def acted(self) -> Scene | None:
        """The scene at this attempt of the activity that runs."""
        return None if self.scene is None else msgspec.structs.replace(self.scene, attempt=activity.info().attempt)


class BankCalls:
    """Activities that ask the bank once and say how it failed."""

    def __init__(self, banks: "Banks", ledger: "Ledger") -> None:
        self._banks = banks
        self._ledger = ledger

    @activity.defn(name="kaspi.read_status")
    async def read_status(self, payment: PaymentRef) -> BankFact:
        """Reads a payment; retryable except for `KaspiNotFound` and other refusals."""
        try:
            async with beating():
                bank = await self._banks.of(payment.merchant_id, payment.connection_id, payment.acted)
                return await bank.status(payment.payment_id, payment.kind)
        except KaspiError as error:
            raise translated(error, writing=False) from error

    @activity.defn(name="kaspi.cancel_remote")
    async def cancel_remote(self, payment: PaymentRef) -> Verdict:
        """Notes the wish, then asks the bank once. `KaspiOutcomeUnknown` means: read the status."""
        async with beating():
            await self._ledger.cancel_asked(payment.merchant_id, payment.invoice_id, payment.asked_by or None)
            try:
                bank = await self._banks.of(payment.merchant_id, payment.connection_id, payment.acted)
                return await bank.cancel(payment.payment_id)
            except KaspiError as error:
                raise translated(error, writing=True) from error


def translated(error: KaspiError, *, writing: bool) -> ApplicationError:
    """The failure a workflow matches; `writing` makes everything final that is not known to be unexecuted."""
    if isinstance(error, KaspiNotFound):
        return failure(error, BANK_NOT_FOUND, retryable=False, code=error.code)
    if isinstance(error, KaspiRefused):
        return failure(error, BANK_REFUSED, retryable=False, code=error.code)
    if isinstance(error, KaspiOutcomeUnknown):
        return failure(error, BANK_UNKNOWN, retryable=not writing, code=error.code)
    if isinstance(error, KaspiMisconfigured):
        # An operator will repair it; a read may wait for that.
        return failure(error, BANK_MISCONFIGURED, retryable=not writing, code=error.code)
    return failure(error, BANK_UNAVAILABLE, retryable=True, code=error.code)
