"""What can go wrong with the bank, sorted by the only question that matters: may it have been executed?

* KaspiError
  * KaspiRefused           the bank (or we, before any I/O) said no: not executed, repeating won't help
    * KaspiNotFound        the bank knows no such purchase (-1601, -99000001)
  * KaspiMisconfigured     an operator must act: key, certificate, device, trade point; not executed
  * KaspiUnavailable       repeat later: known not executed, or harmless to execute twice
    * KaspiThrottled       repeat later and more slowly: HTTP 429, block page, -999 where the bank guards its rate
  * KaspiOutcomeUnknown    the money may have moved: read back, never repeat blindly
"""


class KaspiError(Exception):
    """One failed call to the bank.

    `call` is the bank's path (``remote/create``), `code` its StatusCode where it gave one, `reason` a stable
    word of ours, `request_id` the X-Request-ID sent (None before any I/O). The text of the exception is safe to
    log and store. `bank_message` is the bank's own text: it may name a person, so it stays out of str and repr.
    """

    def __init__(
        self,
        call: str,
        reason: str,
        *,
        code: int | None = None,
        bank_message: str | None = None,
    ) -> None:
        self.call = str(call)
        self.reason = reason
        self.code = code
        self.bank_message = bank_message
        self.request_id: str | None = None
        super().__init__(f"{call}: {reason}" if code is None else f"{call}: {reason} (code {code})")


class KaspiRefused(KaspiError):
    """A typed refusal: not executed (class B of the guide's codes, or refused by us before any I/O)."""


class KaspiNotFound(KaspiRefused):
    """No such purchase. For an id the bank itself gave us this is an alarm, never by itself "failed" (§4)."""


class KaspiMisconfigured(KaspiError):
    """Not executed, and no retry helps until an operator acts (class M). `problems` are our sentences."""

    def __init__(
        self,
        call: str,
        reason: str,
        *,
        code: int | None = None,
        bank_message: str | None = None,
        problems: tuple[str, ...] = (),
    ) -> None:
        full = f"{reason}: {'; '.join(problems)}" if problems else reason
        super().__init__(call, full, code=code, bank_message=bank_message)
        self.reason = reason
        self.problems = problems


class KaspiUnavailable(KaspiError):
    """Known not executed, or a call that is harmless to repeat (class R)."""


class KaspiThrottled(KaspiUnavailable):
    """As its parent, and the bank wants fewer calls from us."""


class KaspiOutcomeUnknown(KaspiError):
    """A money-moving call that may have been executed (class A)."""
