"""A story told again from the books issues nothing: what the first telling did at the bank is read, or told as lost."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.failures import WINDOW_MISSED
from activities.issuing import IssueLimits, Issuing
from domain.invoice import Attention, Kind, OpenInvoice, Reason, State
from tests.activities.town import Town, claimed
from tests.db.books import Shop

CREATES = {Kind.PHONE: "remote/create", Kind.QR: "qr/create", Kind.LINK: "qr/create-link"}


@pytest.fixture(scope="module")
async def shop(town_of_run: Town) -> Shop:
    return await town_of_run.merchant()


def resumed(order: OpenInvoice) -> OpenInvoice:
    """As db.resuming makes it: every time of the first telling is over."""
    past = datetime.now(UTC) - timedelta(minutes=2)
    return msgspec.structs.replace(order, issue_before=past, answer_by=past, resumed=True)


async def asked(town: Town) -> list[int]:
    return [await town.received(call) for call in CREATES.values()]


@pytest.mark.parametrize("kind", Kind)
async def test_a_resumed_bill_that_was_issued_goes_on_from_the_books(town: Town, shop: Shop, kind: Kind) -> None:
    order = shop.order(kind)
    first = await town.issue(order)
    before = await asked(town)
    again = await town.issue(resumed(order))
    assert first.booked is not None
    assert again.booked is not None
    assert (again.booked.state, again.booked.bank_payment_id) == (State.PENDING, first.booked.bank_payment_id)
    assert await asked(town) == before


@pytest.mark.parametrize("kind", [Kind.QR, Kind.LINK])
async def test_a_resumed_qr_that_nobody_has_seen_is_failed_and_told_once(town: Town, kind: Kind) -> None:
    shop = await town.merchant()
    await shop.endpoint()
    order = await shop.opened(kind)
    before = await asked(town)
    for _ in range(2):
        outcome = await town.issue(resumed(order))
        assert outcome.booked is not None
        assert outcome.booked.state is State.FAILED
        assert len(outcome.booked.deliveries) == 1
    invoice = await shop.invoice(order.invoice_id)
    assert (invoice.status_reason, invoice.attention) == (Reason.UNAVAILABLE, None)
    (event,) = await shop.events(order.invoice_id)
    assert event["type"] == "invoice.status_changed"
    assert await asked(town) == before


async def test_a_resumed_phone_bill_without_an_outcome_is_unknown(town: Town, shop: Shop) -> None:
    order = await shop.opened()
    before = await asked(town)
    outcome = await town.issue(resumed(order))
    assert outcome.booked is not None
    assert (outcome.booked.state, outcome.booked.attention) == (State.PROCESSING, Attention.OUTCOME_UNKNOWN)
    assert await asked(town) == before


@pytest.mark.parametrize("kind", Kind)
async def test_a_resumed_bill_waits_for_a_claimer_whose_answer_is_on_its_way(
    town: Town, shop: Shop, kind: Kind
) -> None:
    await town.admin.fault(CREATES[kind], "delay", delay_ms=700)
    order = shop.order(kind)
    patient = Issuing(town.books.ledger, town.banks, IssueLimits(longest_call=10))
    first = asyncio.create_task(ActivityEnvironment().run(patient.issue, order))
    await claimed(shop, order)
    other = Issuing(town.books.ledger, town.banks, IssueLimits(longest_call=10))
    again = await ActivityEnvironment().run(other.issue, resumed(order))
    assert (await first).booked is not None
    assert again.booked is not None
    assert again.booked.state is State.PENDING
    assert len(await town.bills(order)) == 1


@pytest.mark.parametrize("kind", Kind)
async def test_a_resumed_bill_that_the_books_do_not_have_is_not_issued(town: Town, shop: Shop, kind: Kind) -> None:
    order, before = resumed(shop.order(kind)), await asked(town)
    with pytest.raises(ApplicationError) as told:
        await town.issue(order)
    assert (told.value.type, told.value.non_retryable) == (WINDOW_MISSED, True)
    assert await town.books.reads.invoice(shop.id, order.invoice_id) is None
    assert await asked(town) == before
