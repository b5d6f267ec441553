"""A bill's story tells its subscription."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.subscribing import AskBill, Subscribing
    from domain.invoice import OpenInvoice, SubscriptionCharge
    from domain.subscription import ChargeRef
    from domain.subscription_record import SubscriptionRef
    from workflows.options import LEDGER_STEP


async def tell_subscription(order: OpenInvoice, bill: SubscriptionCharge) -> None:
    """That its bill has news: what, it reads in the books. For ever, until the engine has the signal.

    An activity, because only a client can begin a subscription's workflow again with the signal.
    """
    await workflow.execute_activity_method(
        Subscribing.tell,
        AskBill(
            of=SubscriptionRef(
                merchant_id=order.merchant_id, subscription_id=bill.subscription_id, is_sandbox=order.is_sandbox
            ),
            ref=ChargeRef(number=bill.number, charge=bill.charge),
        ),
        summary=f"tell subscription {bill.subscription_id}",
        **LEDGER_STEP,
    )
