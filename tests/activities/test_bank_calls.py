"""Single calls about an issued payment: cancel, read, adopt."""

import msgspec
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.adopting import AdoptPayment
from activities.bank_calls import PaymentRef
from activities.failures import BANK_MISCONFIGURED, BANK_NOT_FOUND, BANK_REFUSED, BANK_UNAVAILABLE, BANK_UNKNOWN
from domain.bank import Verdict
from domain.invoice import Attention, Booked, OpenInvoice, State
from tests.activities.town import Town
from tests.db.books import Shop


@pytest.fixture(scope="module")
async def shop(town_of_run: Town) -> Shop:
    return await town_of_run.merchant()


async def cancel(town: Town, payment: PaymentRef) -> Verdict:
    return await ActivityEnvironment().run(town.calls.cancel_remote, payment)


async def word_of(town: Town, payment: PaymentRef) -> str:
    return str((await town.admin.call("GET", f"purchases/{payment.payment_id}"))["status"])


async def test_a_bill_is_canceled_at_the_bank_and_the_wish_is_noted(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    assert await cancel(town, payment) is Verdict.CANCELED
    watch = await shop.watch(payment.invoice_id)
    assert watch is not None
    assert watch["cancel_requested"] is True
    assert await word_of(town, payment) == "RemotePaymentCanceled"


@pytest.mark.parametrize("fault", ["execute_then_drop", "error_5xx_before", "html", "empty"])
async def test_a_lost_answer_to_a_cancel_is_unknown_final_and_asked_once(town: Town, shop: Shop, fault: str) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("remote/cancel", fault)
    before = await town.received("remote/cancel")
    with pytest.raises(ApplicationError) as caught:
        await cancel(town, payment)
    assert (caught.value.type, caught.value.non_retryable) == (BANK_UNKNOWN, True)
    assert await town.received("remote/cancel") == before + 1


async def test_a_cancel_under_way_tells_that_it_lives(town: Town, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.heartbeats.HEARTBEAT_SECONDS", 0.05)
    payment = await town.issued(shop)
    await town.admin.fault("remote/cancel", "delay", delay_ms=1000)
    environment, beats = ActivityEnvironment(), []
    environment.on_heartbeat = lambda *details: beats.append(details)
    assert await environment.run(town.calls.cancel_remote, payment) is Verdict.CANCELED
    assert beats


async def test_the_bank_does_not_cancel_what_it_has_been_paid_for(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop)
    await town.admin.act(payment.payment_id, "pay")
    with pytest.raises(ApplicationError) as caught:
        await cancel(town, payment)
    assert caught.value.non_retryable
    assert await word_of(town, payment) == "Processed"
    assert (await shop.invoice(payment.invoice_id)).state is State.PENDING  # the books learn of it from the bank only


async def test_a_payment_that_the_bank_does_not_know_is_named_so(town: Town, shop: Shop) -> None:
    payment = msgspec.structs.replace(await town.issued(shop), payment_id=1)
    for call in (town.calls.cancel_remote, town.calls.read_status):
        with pytest.raises(ApplicationError) as caught:
            await ActivityEnvironment().run(call, payment)
        assert (caught.value.type, caught.value.non_retryable) == (BANK_NOT_FOUND, True)
        assert caught.value.details[0] in {-1601, -99000001}


@pytest.mark.parametrize(
    ("fault", "knobs", "type_"),
    [
        ("drop_before", {}, BANK_UNAVAILABLE),
        ("error_5xx_after", {}, BANK_UNAVAILABLE),
        ("throttle_429", {}, BANK_UNAVAILABLE),
        ("code", {"code": -1501, "execute": False}, BANK_MISCONFIGURED),
    ],
)
async def test_a_failed_read_may_always_be_repeated(
    town: Town, shop: Shop, fault: str, knobs: dict[str, object], type_: str
) -> None:
    payment = await town.issued(shop)
    await town.admin.fault("payment/status", fault, times=None, **knobs)
    with pytest.raises(ApplicationError) as caught:
        await ActivityEnvironment().run(town.calls.read_status, payment)
    assert (caught.value.type, caught.value.non_retryable) == (type_, False)
    await town.admin.clear_faults()
    fact = await ActivityEnvironment().run(town.calls.read_status, payment)
    assert (fact.word, fact.verdict) == ("RemotePaymentCreated", Verdict.WAITING)


async def test_the_amount_comes_with_the_word(town: Town, shop: Shop) -> None:
    payment = await town.issued(shop, amount=123_45)
    await town.admin.act(payment.payment_id, "pay")
    fact = await ActivityEnvironment().run(town.calls.read_status, payment)
    assert (fact.verdict, fact.amount) == (Verdict.PAID, 123_45)


# --- adopting


async def unknown(town: Town, shop: Shop, amount: int = 1_000_000) -> tuple[OpenInvoice, int]:
    """An invoice whose create was lost, and the bill that the bank made all the same."""
    await town.admin.fault("remote/create", "execute_then_drop")
    order = shop.order(amount=amount)
    await town.issue(order)
    assert (await shop.invoice(order.invoice_id)).attention is Attention.OUTCOME_UNKNOWN
    (bill,) = await town.bills(order)
    return order, int(bill["id"])


async def adopt(town: Town, order: OpenInvoice, payment_id: int) -> Booked:
    payment = PaymentRef(
        merchant_id=order.merchant_id,
        connection_id=order.connection_id,
        invoice_id=order.invoice_id,
        payment_id=payment_id,
        kind=order.kind,
    )
    return await ActivityEnvironment().run(town.adopting.adopt, AdoptPayment(payment=payment, order=order))


async def refused_to_adopt(town: Town, order: OpenInvoice, payment_id: int) -> ApplicationError:
    before = await town.books.reads.invoice(order.merchant_id, order.invoice_id)
    with pytest.raises(ApplicationError) as caught:
        await adopt(town, order, payment_id)
    assert caught.value.non_retryable
    assert await town.books.reads.invoice(order.merchant_id, order.invoice_id) == before
    return caught.value


async def test_an_operator_gives_a_lost_bill_back_to_its_invoice(town: Town, shop: Shop) -> None:
    order, payment_id = await unknown(town, shop)
    booked = await adopt(town, order, payment_id)
    invoice = await shop.invoice(order.invoice_id)
    assert (booked.state, booked.bank_payment_id) == (State.PENDING, payment_id)
    assert (invoice.state, invoice.attention, invoice.bank_payment_id) == (State.PENDING, None, payment_id)
    watch = await shop.watch(order.invoice_id)
    assert watch is not None
    assert watch["bank_payment_id"] == payment_id
    again = await adopt(town, order, payment_id)
    assert (again.created, again.bank_payment_id) == (False, payment_id)
    assert len(await town.bills(order)) == 1


async def test_a_payment_of_another_amount_is_not_adopted(town: Town, shop: Shop) -> None:
    order, _ = await unknown(town, shop)
    _, other = await unknown(town, shop, amount=order.amount + 1)
    await town.admin.act(other, "pay")  # the bank tells an amount only of what is paid
    error = await refused_to_adopt(town, order, other)
    assert error.type == BANK_REFUSED
    assert "amount_differs" in error.message


async def test_a_lost_bill_that_was_paid_meanwhile_is_adopted_and_the_poller_will_find_the_money(
    town: Town, shop: Shop
) -> None:
    order, payment_id = await unknown(town, shop)
    await town.admin.act(payment_id, "pay")
    assert (await adopt(town, order, payment_id)).state is State.PENDING
    assert await shop.watch(order.invoice_id) is not None


async def test_a_payment_that_has_its_invoice_is_not_adopted_by_another(town: Town, shop: Shop) -> None:
    order, _ = await unknown(town, shop)
    taken = await town.issued(shop, amount=order.amount)
    error = await refused_to_adopt(town, order, taken.payment_id)
    assert error.type == BANK_REFUSED


async def test_a_payment_that_the_bank_does_not_know_is_not_adopted(town: Town, shop: Shop) -> None:
    order, _ = await unknown(town, shop)
    assert (await refused_to_adopt(town, order, 1)).type == BANK_NOT_FOUND
