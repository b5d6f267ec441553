"""How much a subscription may ask for. What the calendar itself cannot do is in `domain.billing_calendar`."""

from collections.abc import Mapping
from datetime import datetime, timedelta

MOST_RETRY_ATTEMPTS = 10
MOST_RETRY_INTERVAL_HOURS = 7 * 24
MOST_GRACE_PERIOD_DAYS = 90

# A start in the past is for subscriptions that moved here from elsewhere; a far one is a typing error.
EARLIEST_START = timedelta(days=366)
LATEST_START = timedelta(days=5 * 366)

# Metadata is for the merchant's own keys, not for documents: it travels with every event.
MOST_METADATA = 20
MOST_METADATA_KEY = 40
MOST_METADATA_VALUE = 200

MOST_UPCOMING = 50

LONGEST_ADVANCE = timedelta(days=2 * 366)
# Words of a scripted payer; the last one repeats.
MOST_SCRIPTED = 100


def start_fault(start: datetime, now: datetime) -> str | None:
    """Why a subscription cannot start then, in a sentence for the merchant; None when it can."""
    if start < now - EARLIEST_START:
        return f"Must not be more than {EARLIEST_START.days} days ago."
    if start > now + LATEST_START:
        return f"Must not be more than {LATEST_START.days} days ahead."
    return None


def metadata_fault(metadata: Mapping[str, str]) -> str | None:
    """Why these cannot be kept, in a sentence for the merchant; None when they can."""
    if len(metadata) > MOST_METADATA:
        return f"Must have at most {MOST_METADATA} keys."
    if any(not 1 <= len(key) <= MOST_METADATA_KEY for key in metadata):
        return f"Its keys must have 1 to {MOST_METADATA_KEY} characters."
    if any(len(value) > MOST_METADATA_VALUE for value in metadata.values()):
        return f"Its values must have at most {MOST_METADATA_VALUE} characters."
    if any("\x00" in text for pair in metadata.items() for text in pair):
        return "Must not contain the NUL character."
    return None


def advance_fault(clock: datetime, to: datetime) -> str | None:
    """Why a test clock cannot go there, in a sentence for the merchant; None when it can."""
    if to <= clock:
        return "A test clock only goes forward."
    if to - clock > LONGEST_ADVANCE:
        return f"Must not be more than {LONGEST_ADVANCE.days} days after the clock at once."
    return None
