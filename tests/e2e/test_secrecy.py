"""What must never stand in a log or in Temporal. Reads what the whole run left, so later is better than sooner."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.shop import USED_PHONES, Shop, fresh_key
from tests.support.stack import PARTS

pytestmark = pytest.mark.stack

MARKER = "СекретныйТорт"
SECRETS = (
    re.compile(r"tk_(live|test)_[0-9A-Za-z]{6,}"),
    re.compile(r"whsec_[0-9A-Za-z+/=]{6,}"),
    re.compile(r"-----BEGIN"),
    re.compile(r"postgres(ql)?(\+asyncpg)?://[^\s:]+:(?!\*)[^\s@]+@"),
)


@pytest.fixture
async def whole_life(shop: Shop, bank: EmulatorAdmin, inbox: Inbox) -> Shop:
    """Good and bad days of a bill, so that each part had something to say."""
    headers = {"Idempotency-Key": fresh_key()}
    await bank.fault("remote/create", "html")
    await shop.bill(description=MARKER)
    paid = await shop.bill(description=MARKER, external_order_id=MARKER)
    await shop.live.post("/api/v1/invoices", json={"amount": MARKER, "phone_number": paid["phone_number"] + "9"})
    await shop.live.get("/api/v1/invoices", params={"search": paid["phone_number"]}, headers=headers)
    canceled = await shop.bill(description=MARKER)
    await bank.fault("remote/cancel", "error_5xx_before")
    await shop.live.post(f"/api/v1/invoices/{canceled['id']}/cancel")
    await shop.pay(paid)
    await shop.until_state(paid["id"], "paid")
    await inbox.wait(paid["id"], state="paid")
    return shop


def _places(texts: list[tuple[str, str]], phones: set[str], patterns: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    """Where something secret stands, without repeating it."""
    for name, text in texts:
        for number, line in enumerate(text.splitlines(), 1):
            digits = re.sub(r"[ ()\-]", "", line)
            if any(phone[1:] in digits for phone in phones if phone[1:5] in digits):
                yield f"{name}:{number}: a phone"
            if MARKER in line:
                yield f"{name}:{number}: free text"
            yield from (f"{name}:{number}: {pattern.pattern}" for pattern in patterns if pattern.search(line))


async def test_no_log_holds_a_phone_a_key_a_secret_or_free_text(whole_life: Shop) -> None:
    stack = whole_life.stack
    logs = [(part, stack.log_path(part).read_text(errors="replace")) for part in PARTS]
    assert all(text for _, text in logs)
    assert list(_places(logs, USED_PHONES, SECRETS)) == []


def _bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


async def test_temporal_keeps_no_phone_and_no_free_text(whole_life: Shop) -> None:
    kept = _bytes_of(whole_life.stack.system.layout.temporal)
    assert whole_life.merchant_id.encode() in kept  # so this is where things would stand
    assert [phone for phone in USED_PHONES if phone.encode() in kept] == []
    assert MARKER.encode() not in kept
    assert b"whsec_" not in kept
