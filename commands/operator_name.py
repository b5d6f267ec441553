"""Who sits at the terminal, for the audit log."""

import getpass

from db.registry import UNNAMED_OPERATOR


def operator_name() -> str:
    """The login name of the person, `tolem-cli` where the machine knows none. A name, not a proof."""
    try:
        return getpass.getuser() or UNNAMED_OPERATOR
    except (KeyError, OSError):  # a container's user may have no name
        return UNNAMED_OPERATOR
