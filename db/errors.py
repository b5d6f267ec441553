"""How the database fails, in words other rooms may import.

DatabaseError
├── DatabaseUnavailable   the statement may or may not have run; every write here is idempotent, so repeat it
├── BankPaymentTaken      another invoice already has this bank payment
└── IssueWindowMissed     the bill was asked for too late; nothing was written and nothing may be issued
"""


class DatabaseError(Exception):
    """Base of what this room raises; carries no data of any row."""


class DatabaseUnavailable(DatabaseError):
    """No connection, or a lost one."""


class IssueWindowMissed(DatabaseError):
    """`issue_before` has passed by the database's clock."""


class BankPaymentTaken(DatabaseError):
    """One bank payment belongs to one invoice."""
