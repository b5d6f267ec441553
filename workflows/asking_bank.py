"""A story's questions to the bank: read a payment, withdraw a bill, adopt a payment that an operator names."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    import msgspec

    from activities.adopting import Adopting, AdoptPayment
    from activities.bank_calls import BankCalls, PaymentRef
    from activities.looking import BankView, Looking
    from domain.bank import STILL_OPEN, BankFact, Verdict
    from domain.errors import Code
    from domain.invoice import Booked, OpenInvoice
    from domain.scenario import Scene
    from runtime.task_queues import TaskQueues
    from workflows import options
    from workflows.failures import refuse, said_no
    from workflows.invoice_messages import SOMEBODY, Resolve

CANCEL_TRIES = 3


class BankDesk:
    """Speaks for one invoice; every method is one or more activities on the queue of bank calls."""

    def __init__(self, order: OpenInvoice) -> None:
        self._order = order
        # Of the bank, which keeps no books in the sandbox: what it needs to remember stands here.
        acted = order.scenario if order.is_sandbox else None
        self._scene = None if acted is None else Scene(scenario=acted)

    def _remember(self, **news: int | bool) -> None:
        if self._scene is not None:
            self._scene = msgspec.structs.replace(self._scene, **news)

    def _payment(self, payment_id: int, asked_by: str = "") -> PaymentRef:
        return PaymentRef(
            merchant_id=self._order.merchant_id,
            connection_id=self._order.connection_id,
            invoice_id=self._order.invoice_id,
            payment_id=payment_id,
            kind=self._order.kind,
            asked_by=asked_by,
            scene=self._scene,
        )

    async def read(self, payment_id: int, config: options.CallOptions, why: str) -> BankFact:
        """The payment's word; ActivityError as `config` allows."""
        self._remember(look=1 if self._scene is None else self._scene.look + 1)
        return await workflow.execute_activity_method(
            BankCalls.read_status,
            self._payment(payment_id),
            task_queue=TaskQueues(workflow.info().task_queue).kaspi,
            summary=why,
            **config,
        )

    async def cancel(self, payment_id: int, asked_by: str = "") -> BankFact:
        """Asks up to three times; every answer that is not "canceled" is checked by reading the payment.

        `asked_by` is the API key's id, for the audit log; empty where the story itself asks, or the Temporal UI.
        Fails with `kaspi_outcome_unknown` while nobody can say what the bank did.
        """
        fact, unclear = None, False
        self._remember(cancel_asked=True)
        for _ in range(CANCEL_TRIES):
            try:
                verdict = await workflow.execute_activity_method(
                    BankCalls.cancel_remote,
                    self._payment(payment_id, asked_by),
                    task_queue=TaskQueues(workflow.info().task_queue).kaspi,
                    summary="ask the bank to cancel",
                    **options.KASPI_WRITE_ONCE,
                )
                if verdict is Verdict.CANCELED:
                    return BankFact(word="RemotePaymentCanceled", verdict=verdict, seen_at=workflow.now())
                unclear = False
            except ActivityError as error:
                unclear = not said_no(error)
                workflow.logger.warning("the bank did not cancel, reading the payment")
            try:
                fact = await self.read(payment_id, options.KASPI_READ_NOW, "did the cancel happen?")
            except ActivityError as error:
                raise refuse(Code.KASPI_OUTCOME_UNKNOWN) from error
            if fact.verdict not in STILL_OPEN:
                break
        if fact is None or (unclear and fact.verdict in STILL_OPEN):
            raise refuse(Code.KASPI_OUTCOME_UNKNOWN)  # the last request may still be on its way
        return fact

    async def look(self, payment_id: int | None) -> BankView:
        """Status and sums, for an operator's eyes; what can't be read is told, never raised."""
        if payment_id is None:
            raise refuse(Code.NOT_FOUND)
        return await workflow.execute_activity_method(
            Looking.look,
            self._payment(payment_id),
            task_queue=TaskQueues(workflow.info().task_queue).kaspi,
            summary="an operator looks at the bank",
            **options.KASPI_LOOK,
        )

    async def adopt(self, payment_id: int, ask: Resolve) -> Booked:
        """Books the invoice as issued with this payment, after the bank has confirmed it."""
        try:
            return await workflow.execute_activity_method(
                Adopting.adopt,
                AdoptPayment(
                    payment=self._payment(payment_id),
                    order=self._order,
                    operator=ask.by or SOMEBODY,
                    note=ask.note or None,
                ),
                task_queue=TaskQueues(workflow.info().task_queue).kaspi,
                summary="read and adopt the payment an operator named",
                **options.KASPI_READ_NOW,
            )
        except ActivityError as error:
            code = Code.NOT_FOUND if said_no(error) else Code.KASPI_UNAVAILABLE
            raise refuse(code, bank_payment_id=str(payment_id)) from error
