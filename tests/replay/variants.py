"""The invoice's story with changes that would break running invoices, and once without a change."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import msgspec

    from domain.invoice import Attention, Booked, OpenInvoice, Reason, State

from workflows.invoice import InvoiceWorkflow
from workflows.invoice_books import InvoiceBooks
from workflows.invoice_messages import Resolve


@workflow.defn(name="invoice")
class Unchanged(InvoiceWorkflow):
    """The control: what is found in the others is found because of their change."""

    @workflow.init
    def __init__(self, order: OpenInvoice) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OpenInvoice) -> State:
        return await super().run(order)


@workflow.defn(name="invoice")
class StepAdded(InvoiceWorkflow):
    """A pause before the bill is issued."""

    @workflow.init
    def __init__(self, order: OpenInvoice) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OpenInvoice) -> State:
        await workflow.sleep(timedelta(seconds=1))
        return await super().run(order)


class Silent(InvoiceBooks):
    """Tells nobody."""

    def follow(self, booked: Booked) -> None:
        super().follow(msgspec.structs.replace(booked, deliveries=[]))


@workflow.defn(name="invoice")
class StepDropped(InvoiceWorkflow):
    """Webhooks are not sent."""

    books = Silent

    @workflow.init
    def __init__(self, order: OpenInvoice) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OpenInvoice) -> State:
        return await super().run(order)


class Hasty(InvoiceBooks):
    """Shows before it books."""

    async def book(
        self,
        cause: str,
        *,
        state: State | None = None,
        reason: Reason | None = None,
        attention: Attention | None = None,
        clear_attention: bool = False,
        requires: Attention | None = None,
        ask: Resolve | None = None,
    ) -> None:
        self.story.state = state or self.story.state
        self.show()
        await super().book(
            cause,
            state=state,
            reason=reason,
            attention=attention,
            clear_attention=clear_attention,
            requires=requires,
            ask=ask,
        )


@workflow.defn(name="invoice")
class StepsReordered(InvoiceWorkflow):
    """The operator is shown the state before it is booked."""

    books = Hasty

    @workflow.init
    def __init__(self, order: OpenInvoice) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OpenInvoice) -> State:
        return await super().run(order)
