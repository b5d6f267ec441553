"""When an organisation is verified."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from domain.merchant import Health, Merchant
from domain.organization import WINDOW, Organization, OrganizationStatus, expired, time_remaining, verification
from tests.contracts.samples import connection

AT = datetime(2026, 11, 22, 6, 17, 33, tzinfo=UTC)
BIN, OTHER = "210140000016", "850101300005"
MERCHANT = Merchant(id="mer_1", name="Shop", bin=BIN, created_at=AT)


def asked(**changes: Any) -> Organization:
    one = Organization(merchant_id="mer_1", number=1, is_sandbox=False, idn=BIN, started_at=AT)
    return msgspec.structs.replace(one, **changes)


def test_a_link_that_works_verifies_the_merchant_s_own_number_and_the_one_at_the_bank() -> None:
    link = connection(organization_bin=OTHER)
    assert verification(asked(), MERCHANT, link) is OrganizationStatus.VERIFIED
    assert verification(asked(idn=OTHER), MERCHANT, link) is OrganizationStatus.VERIFIED


def test_without_a_link_or_with_a_lost_one_it_waits() -> None:
    assert verification(asked(), MERCHANT, None) is OrganizationStatus.PENDING
    assert verification(asked(), MERCHANT, connection(health=Health.LOST)) is OrganizationStatus.PENDING


@pytest.mark.parametrize("sandbox", [True, False])
def test_somebody_else_s_number_fails(*, sandbox: bool) -> None:
    assert verification(asked(idn=OTHER, is_sandbox=sandbox), MERCHANT, connection()) is OrganizationStatus.FAILED


def test_in_the_sandbox_the_number_alone_decides() -> None:
    assert verification(asked(is_sandbox=True), MERCHANT, None) is OrganizationStatus.VERIFIED


def test_only_what_still_waits_expires_and_exactly_after_its_time() -> None:
    ends = AT + WINDOW
    assert not expired(asked(), OrganizationStatus.PENDING, ends - timedelta(microseconds=1))
    assert expired(asked(), OrganizationStatus.PENDING, ends)
    assert not expired(asked(), OrganizationStatus.VERIFIED, ends + WINDOW)
    assert not expired(asked(), OrganizationStatus.FAILED, ends + WINDOW)


@pytest.mark.parametrize(
    ("passed", "left"), [(-1, 120), (0, 120), (0.5, 120), (25, 95), (119.5, 1), (120, 0), (500, 0)]
)
def test_the_remaining_time_is_in_whole_seconds(passed: float, left: int) -> None:
    assert time_remaining(asked(), AT + timedelta(seconds=passed)) == left
