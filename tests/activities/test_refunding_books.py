"""The refund's other activities: reading the sums, and the books' refusals as workflows hear them."""

import asyncio

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import failures
from activities.refunding import Refunding, RefundRef
from domain.refund import RefundState
from tests.activities.test_refunding import PAID, Desk, opened
from tests.activities.town import Town
from tests.db.books import Shop


@pytest.fixture(scope="module")
async def shop(town_of_run: Town) -> Shop:
    return await town_of_run.merchant()


@pytest.fixture
async def desk(town: Town, shop: Shop) -> Desk:
    return await opened(town, shop)


async def test_reading_the_sums_says_how_it_failed(town: Town, desk: Desk) -> None:
    assert await desk.available() == PAID
    for fault, type_, final in (
        ({"fault": "code", "code": -1601}, failures.BANK_NOT_FOUND, True),
        ({"fault": "error_5xx_before"}, failures.BANK_UNAVAILABLE, False),
        ({"fault": "code", "code": -1501}, failures.BANK_MISCONFIGURED, False),
    ):
        await town.admin.fault("payment/details", **fault)
        with pytest.raises(ApplicationError) as caught:
            await desk.available()
        assert (caught.value.type, caught.value.non_retryable) == (type_, final)


async def test_the_books_refusals_carry_their_codes(town: Town, desk: Desk, shop: Shop) -> None:
    invoice = await shop.invoice((await shop.refund_of(desk.order.refund_id)).invoice_id)
    run = ActivityEnvironment().run
    with pytest.raises(ApplicationError) as caught:
        await run(desk.refunding.open, shop.refund_order(invoice, PAID))
    assert (caught.value.type, caught.value.non_retryable) == (failures.REFUND_REFUSED, True)
    assert list(caught.value.details) == ["refund_exceeds_available", "60.00"]
    with pytest.raises(ApplicationError) as caught:
        await run(desk.refunding.open, shop.refund_order(invoice, 1, resumed=True))
    assert (caught.value.type, caught.value.non_retryable) == (failures.WINDOW_MISSED, True)


async def test_a_hundred_refunds_wait_for_one_bill_without_a_connection_each(town: Town, shop: Shop) -> None:
    invoice = await shop.paid(amount=100)
    refunding = Refunding(town.books.refunds, town.banks)
    orders = [shop.refund_order(invoice, 1) for _ in range(100)]
    made = await asyncio.gather(*(ActivityEnvironment().run(refunding.open, order) for order in orders))
    assert [one.created for one in made] == [True] * 100
    assert (await shop.invoice(invoice.id)).refund_pending == 100
    ref = RefundRef(merchant_id=shop.id, refund_id=orders[0].refund_id)
    assert (await ActivityEnvironment().run(refunding.standing, ref)).state is RefundState.PENDING
