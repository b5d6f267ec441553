"""The invoice's story with changes that would break running invoices, and once without a change."""

from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import msgspec

    from domain.invoice import Booked, OpenInvoice, State

from workflows.invoice import InvoiceWorkflow
from workflows.invoice_books import InvoiceBooks


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

    async def book(self, cause: str, *, state: State | None = None, **rest: Any) -> None:
        self.story.state = state or self.story.state
        self.show()
        await super().book(cause, state=state, **rest)


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
