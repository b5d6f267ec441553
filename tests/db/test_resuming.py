"""A sandbox story told again acts out what it acted out before; a live one acts out nothing."""

from typing import Any

import pytest

from db.liveness import Liveness
from domain.invoice import Kind
from domain.refund import RefundState
from domain.scenario import Scenario
from domain.scenarios import MAGIC_VALUES
from tests.db.books import Books, Shop

MAGIC = MAGIC_VALUES[11]
CASES = [
    ({"phone": MAGIC.phone_example}, Kind.PHONE),
    ({"amount": MAGIC.amount}, Kind.QR),
    ({"amount": MAGIC.amount}, Kind.LINK),
]


@pytest.mark.parametrize(("fields", "kind"), CASES)
@pytest.mark.parametrize("sandbox", [True, False])
async def test_a_bill_and_its_refund_keep_their_scenario(
    books: Books, shop: Shop, fields: dict[str, Any], kind: Kind, sandbox: bool
) -> None:
    expected = Scenario.PARTIAL_REFUND_ONLY if sandbox else None
    invoice = await shop.paid(kind, sandbox=sandbox, **fields)
    refund = await shop.refund(invoice, 100, to=RefundState.PROCESSING)
    liveness = Liveness(books.operator)
    told, back = await liveness.invoice_order(invoice.id), await liveness.refund_order(refund.id)
    assert told is not None
    assert back is not None
    assert (told.scenario, back.scenario, back.amount) == (expected, expected, 100)


async def test_an_ordinary_sandbox_bill_has_none(books: Books, shop: Shop) -> None:
    invoice = await shop.pending(sandbox=True)
    told = await Liveness(books.operator).invoice_order(invoice.id)
    assert told is not None
    assert told.scenario is None
