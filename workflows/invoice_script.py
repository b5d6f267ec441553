"""A sandbox bill that acts out a scenario: who looks at the simulated bank, and when.

A live bill has the poller, and operators. Here the story does their work by its own timers; what it learns goes the
same way into the books.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from domain.invoice import OPEN, Attention
    from domain.scenario import Scenario
    from domain.scenarios import BY_SCENARIO, LOOK_AGAIN, OPERATOR_AFTER, sandbox_payment_id
    from workflows.asking_bank import BankDesk
    from workflows.invoice_books import InvoiceBooks
    from workflows.invoice_deciding import decide
    from workflows.invoice_looks import InvoiceLooks
    from workflows.invoice_messages import Resolution, Resolve

WHO = "sandbox"


class InvoiceScript:
    """`begin` does nothing for a bill without a scenario, and for a live one."""

    def __init__(self, books: InvoiceBooks, looks: InvoiceLooks, bank: BankDesk) -> None:
        self._books = books
        self._looks = looks
        self._bank = bank
        self._order = books.order
        self._story = books.story
        self._playing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """From now on it goes by itself, beside the story."""
        if self._order.is_sandbox and self._order.scenario is not None and self._story.state in OPEN:
            # In a task that nobody cancels: a timer pending at the workflow's end costs no event.
            self._playing = asyncio.create_task(self._play(self._order.scenario))

    def raise_failure(self) -> None:
        """Raises what went wrong, so that it is seen as the workflow's failure."""
        if self._playing is not None and self._playing.done():
            self._playing.result()

    async def _play(self, scenario: Scenario) -> None:
        while self._story.attention is Attention.OUTCOME_UNKNOWN:
            await workflow.sleep(timedelta(seconds=OPERATOR_AFTER), summary="sandbox: until somebody looks into it")
            try:
                await self._decide(scenario)
            except ApplicationError:  # a worker is away: the next one will do
                workflow.logger.warning("the sandbox's operator was not heard")
        passed = 0.0
        looks = BY_SCENARIO[scenario].course(self._order.kind).looks
        for at in looks:
            await workflow.sleep(timedelta(seconds=at - passed), summary="sandbox: until the next look")
            passed = at
            await self._looks.take(f"sandbox: {scenario}")
        while looks and self._story.state in OPEN:
            await workflow.sleep(timedelta(seconds=LOOK_AGAIN), summary="sandbox: until another look")
            await self._looks.take(f"sandbox: {scenario}")

    async def _decide(self, scenario: Scenario) -> None:
        """As an operator would who looks for the bill in the bank's app."""
        async with self._books.lock:
            if self._story.attention is not Attention.OUTCOME_UNKNOWN:
                return  # an operator has been quicker
            if scenario is Scenario.MALFORMED_ANSWER:
                ask = Resolve(action=Resolution.ABSENT, by=WHO)
            else:
                payment_id = sandbox_payment_id(self._order.invoice_id)
                ask = Resolve(action=Resolution.BANK_PAYMENT, bank_payment_id=payment_id, by=WHO)
            await decide(ask, self._books, self._looks, self._bank)
