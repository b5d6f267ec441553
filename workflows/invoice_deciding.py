"""What an operator decides about an invoice: what the bank can confirm is read first, nothing is taken on trust."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.errors import Code
    from domain.invoice import Reason, State
    from workflows.asking_bank import BankDesk
    from workflows.failures import refuse
    from workflows.invoice_books import InvoiceBooks
    from workflows.invoice_cases import choices, fits
    from workflows.invoice_looks import InvoiceLooks
    from workflows.invoice_messages import InvoiceStory, Resolution, Resolve

# What must stand afterwards, or the books have moved on meanwhile.
_MAKES = {Resolution.ABSENT: State.FAILED, Resolution.ACCEPT_PAID: State.PAID}


def must_fit(ask: Resolve, story: InvoiceStory) -> None:
    """Refuses a decision that is none of the safe choices, and tells those."""
    if not fits(ask, story.attention, story.state):
        safe = ", ".join(one.action for one in choices(story.attention, story.state))
        told = {"attention": story.attention or "none"} | ({"choices": safe} if safe else {})
        raise refuse(Code.ILLEGAL_TRANSITION, **told)


async def decide(ask: Resolve, books: InvoiceBooks, looks: InvoiceLooks, bank: BankDesk) -> None:
    """Carries out a decision that fits; fails with `illegal_transition` where the books have moved on."""
    story, stood = books.story, books.story.attention
    made = _MAKES.get(ask.action)
    match ask.action:
        case Resolution.ABSENT:
            cause = books.anew("declared_absent")
            reason = Reason.DECLARED_ABSENT
            await books.book(cause, state=made, reason=reason, clear_attention=True, requires=stood, ask=ask)
        case Resolution.ACCEPT_PAID:
            await books.book(books.anew("accepted_paid"), state=made, clear_attention=True, requires=stood, ask=ask)
        case Resolution.ACKNOWLEDGE:
            await books.book(books.anew("acknowledged"), clear_attention=True, requires=stood, ask=ask)
        case Resolution.BANK_PAYMENT if ask.bank_payment_id is not None:
            books.follow(await bank.adopt(ask.bank_payment_id, ask))
            books.show()
        case Resolution.RECHECK if story.payment_id is not None:
            await looks.recheck(story.payment_id, ask)
        case _:  # there is no payment to look at
            raise refuse(Code.NOT_FOUND)
    gone_on = made is not None and story.state is not made
    if gone_on or (ask.action is Resolution.ACKNOWLEDGE and story.attention is stood):
        raise refuse(Code.ILLEGAL_TRANSITION, state=story.state, attention=story.attention or "none")
