"""How times look outside: ISO 8601, UTC, milliseconds, ``Z``."""

from datetime import UTC, datetime


def show(moment: datetime) -> str:
    """``2026-11-22T06:17:33.120Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_optional(moment: datetime | None) -> str | None:
    """The same, or None."""
    return None if moment is None else show(moment)
