"""The invoice's story with changes that would break running invoices, and once without a change."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import msgspec

    from domain.invoice import Attention, Booked, OpenInvoice, Reason, State

from workflows.invoice import InvoiceWorkflow


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


@workflow.defn(name="invoice")
class StepDropped(InvoiceWorkflow):
    """Webhooks are not sent."""

    @workflow.init
    def __init__(self, order: OpenInvoice) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OpenInvoice) -> State:
        return await super().run(order)

    def _follow(self, booked: Booked) -> None:
        super()._follow(msgspec.structs.replace(booked, deliveries=[]))


@workflow.defn(name="invoice")
class StepsReordered(InvoiceWorkflow):
    """The operator is shown the state before it is booked."""

    @workflow.init
    def __init__(self, order: OpenInvoice) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OpenInvoice) -> State:
        return await super().run(order)

    async def _book(
        self,
        cause: str,
        *,
        state: State | None = None,
        reason: Reason | None = None,
        attention: Attention | None = None,
        clear_attention: bool = False,
        requires: Attention | None = None,
    ) -> None:
        self._story.state = state or self._story.state
        self._show()
        await super()._book(
            cause, state=state, reason=reason, attention=attention, clear_attention=clear_attention, requires=requires
        )
