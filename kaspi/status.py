"""What the bank's status words mean (fact sheet §3.4)."""

from domain.bank import Verdict
from domain.invoice import Kind

_ANY_KIND: dict[str, Verdict] = {
    "QrTokenCreated": Verdict.WAITING,
    "RemotePaymentCreated": Verdict.WAITING,
    "Wait": Verdict.SCANNED,
    "Processed": Verdict.PAID,
    "Error": Verdict.FAILED,
    "RemotePaymentCanceled": Verdict.CANCELED,
    "Expired": Verdict.EXPIRED,
    "RemotePaymentExpired": Verdict.EXPIRED,
    "QrTokenDiscarded": Verdict.EXPIRED,
}
# Seen in the private API for invoices to a phone only; on a QR purchase it would be a word we don't understand.
_PHONE_ONLY: dict[str, Verdict] = {"RemotePaymentRejected": Verdict.REJECTED}

KNOWN_WORDS = frozenset(_ANY_KIND) | frozenset(_PHONE_ONLY)


def meaning(word: str, kind: Kind, *, cancel_requested: bool = False) -> Verdict:
    """The verdict of a status word. A word we don't know exactly is `UNKNOWN`, never failed.

    ``Error`` of an invoice to a phone which we asked to cancel means canceled: the bank uses one word for both.
    """
    verdict = _ANY_KIND.get(word)
    if kind == Kind.PHONE:
        if verdict is Verdict.FAILED and cancel_requested:
            return Verdict.CANCELED
        verdict = verdict or _PHONE_ONLY.get(word)
    return verdict or Verdict.UNKNOWN
