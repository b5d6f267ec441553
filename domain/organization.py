"""An organisation that a merchant's key is to be verified for, as ApiPay's contract has it.

Here a key belongs to one merchant from the start, so nothing is to be confirmed in Kaspi's app: what the polling waits
for is the link to the bank, which an operator makes.
"""

import math
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from domain.merchant import Connection, Health, Merchant

WINDOW = timedelta(seconds=120)
# Of one merchant: each is a number that somebody tried.
MAX_ORGANIZATIONS = 100


class OrganizationStatus(StrEnum):
    """ApiPay's words."""

    PENDING = "pending"
    VERIFIED = "verified"
    FAILED = "failed"


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """A verification that was asked for; `number` is the merchant's own, and stays where it is asked for again."""

    merchant_id: str
    number: int
    is_sandbox: bool
    idn: str
    started_at: datetime


def time_remaining(organization: Organization, now: datetime) -> int:
    """Whole seconds in which it may still be confirmed."""
    left = (organization.started_at + WINDOW - now).total_seconds()
    return min(int(WINDOW.total_seconds()), max(0, math.ceil(left)))


def verification(organization: Organization, merchant: Merchant, connection: Connection | None) -> OrganizationStatus:
    """How it stands: failed for a number that is not this merchant's, verified with a link to Kaspi that works.

    A sandbox has no bank, so there the number alone decides. `connection` is the one in use.
    """
    known = {merchant.bin} | ({connection.organization_bin} if connection is not None else set())
    if organization.idn not in known:
        return OrganizationStatus.FAILED
    if organization.is_sandbox:
        return OrganizationStatus.VERIFIED
    works = connection is not None and connection.health is not Health.LOST
    return OrganizationStatus.VERIFIED if works else OrganizationStatus.PENDING


def expired(organization: Organization, status: OrganizationStatus, now: datetime) -> bool:
    """True where nobody confirmed it in time."""
    return status is OrganizationStatus.PENDING and now >= organization.started_at + WINDOW
