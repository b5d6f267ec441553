"""How the database fails, in words other rooms may import.

DatabaseError
├── DatabaseUnavailable   the statement may or may not have run; every write here is idempotent, so repeat it
├── BankPaymentTaken      another invoice already has this bank payment
├── IssueWindowMissed     it was asked for too late; nothing was written and nothing may be issued
├── ChargeRefused         the period of the subscription has a live bill, or none may be made; nothing was written
├── SubscriptionRefused   the books allow no such subscription; nothing was written
├── ClockRefused          the test clock cannot do that now; nothing was written
├── RefundRefused         the books allow no such refund; nothing was written
├── TooManyOrganizations  the merchant has verified as many numbers as it may; nothing was written
├── TooManyEndpoints      the merchant has all the webhook endpoints it may have; nothing was written
├── TooManySecrets        the endpoint has all the secrets in force it may have; nothing was written
├── KeyTaken              another answer stands for the idempotency key; nothing was written
├── BarcodeTaken          another catalog item that is for sale has the barcode; nothing was written
├── RedeliveryRuns        the endpoint's last redelivery is not over; nothing was written
├── Overtaken             somebody else has written this batch of the reconciliation meanwhile; nothing was written
└── ReconciliationRuns    the connection's last reconciliation is not over; nothing was written
"""

from datetime import datetime

from domain.errors import Code


class DatabaseError(Exception):
    """Base of what this room raises; carries no data of any row."""


class DatabaseUnavailable(DatabaseError):
    """No connection, or a lost one."""


class IssueWindowMissed(DatabaseError):
    """`issue_before` has passed by the database's clock."""


class BankPaymentTaken(DatabaseError):
    """One bank payment belongs to one invoice."""


class ChargeRefused(DatabaseError):
    """One live bill per period, and only while it is being billed."""


class SubscriptionRefused(DatabaseError):
    """`code` says why."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.value)
        self.code = code


class ClockRefused(DatabaseError):
    """`code` says why."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.value)
        self.code = code


class RefundRefused(DatabaseError):
    """`code` says why; `available` is what could be refunded (tiyn, of the line `position`), where that is why."""

    def __init__(self, code: Code, available: int | None = None, position: int | None = None) -> None:
        super().__init__(code.value)
        self.code = code
        self.available = available
        self.position = position


class TooManyOrganizations(DatabaseError):
    """Each number that a merchant tries is kept."""


class TooManyEndpoints(DatabaseError):
    """`most` is how many a merchant may have."""

    def __init__(self, most: int) -> None:
        super().__init__("too many webhook endpoints")
        self.most = most


class TooManySecrets(DatabaseError):
    """`most` can be in force at once; `room_at` is when the next of them ends, if any does by itself."""

    def __init__(self, most: int, room_at: datetime | None) -> None:
        super().__init__("too many webhook secrets")
        self.most = most
        self.room_at = room_at


class BarcodeTaken(DatabaseError):
    """A barcode names one item that is for sale."""


class KeyTaken(DatabaseError):
    """Another request with this idempotency key was faster; its answer is the one to give."""


class Overtaken(DatabaseError):
    """The reconciliation's place has moved, or it is over."""


class ReconciliationRuns(DatabaseError):
    """One at a time per connection; `run_id` is the one that is not over."""

    def __init__(self, run_id: str) -> None:
        super().__init__("a reconciliation is running")
        self.run_id = run_id


class RedeliveryRuns(DatabaseError):
    """One at a time per endpoint; `redelivery_id` is the one that is not over."""

    def __init__(self, redelivery_id: str) -> None:
        super().__init__("a redelivery is running")
        self.redelivery_id = redelivery_id
