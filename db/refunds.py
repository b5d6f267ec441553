"""Refunds in the books. One call = one transaction = state + sums + events + deliveries + audit; repeatable."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import announcing, audit, refund_opening
from db.engine import as_merchant
from db.rows import ATTEMPT_COLUMNS, INVOICE_COLUMNS, REFUND_COLUMNS, to_attempt, to_invoice, to_refund
from domain.audit import Actor, ActorKind, AuditEntry
from domain.event import EventType
from domain.invoice import DeliveryRef, Invoice, State
from domain.refund import (
    OPEN_REFUNDS,
    OpenRefund,
    Refund,
    RefundChange,
    RefundReason,
    RefundStanding,
    RefundState,
    Returned,
    refund_can_become,
)
from domain.rendering import Renderer

# Every writer locks the invoice first and its refunds after it: nobody waits for the other the wrong way round.
_INVOICE_OF = text(
    f"select {INVOICE_COLUMNS} from invoices where merchant_id = :merchant"
    " and id = (select invoice_id from refunds where merchant_id = :merchant and id = :id) for update"
)
_REFUND = text(f"select {REFUND_COLUMNS} from refunds where merchant_id = :merchant and id = :id")
_CLOCK = text("select clock_timestamp()")
_ATTEMPTS = text(f"select {ATTEMPT_COLUMNS} from refund_attempts where refund_id = :id order by number")
_TURN = text(
    "update refunds set state = 'processing', sequence = sequence + 1, updated_at = clock_timestamp()"
    " where merchant_id = :merchant and id = :id and state = 'pending' and not exists ("
    "   select 1 from refunds r where r.invoice_id = refunds.invoice_id and r.position < refunds.position"
    "   and r.state in ('pending', 'processing')) returning id"
)
_INTEND = text(
    "insert into refund_attempts (refund_id, number, merchant_id, token, available_before, intended_at)"
    " select :id, :number, :merchant, :token, :available, clock_timestamp()"
    " where not exists (select 1 from refund_attempts where refund_id = :id and number >= :number)"
)
_INTENT = text(
    "select token from refund_attempts where merchant_id = :merchant and refund_id = :id and number = :number"
)
_OUTSIDE = text(
    "update invoices set refunded_outside = :outside, updated_at = :now where merchant_id = :merchant and id = :id"
)
_ANSWERED = text(
    "update refund_attempts set outcome = :outcome, bank_return_id = :bank_return_id, reason = :reason,"
    " bank_code = :bank_code, answered_at = clock_timestamp()"
    " where merchant_id = :merchant and refund_id = :id and number = :number"
    "   and (outcome is null or outcome = 'unknown')"
)
_TOLD = text(
    "select exists (select 1 from events where merchant_id = :merchant and object_id = :id and cause = :cause)"
)
_WRITE = text(
    "update refunds set state = :state, status_reason = :status_reason, attention = :attention,"
    " bank_return_id = :bank_return_id, bank_code = :bank_code, completed_at = :completed_at, sequence = :sequence,"
    " updated_at = :updated_at where merchant_id = :merchant_id and id = :id"
)
_WRITE_INVOICE = text(
    "update invoices set state = :state, refunded = :refunded, refund_pending = :refund_pending,"
    " refunded_outside = :refunded_outside, sequence = :sequence, updated_at = :updated_at"
    " where merchant_id = :merchant_id and id = :id"
)
_BLOCKED = text(
    "select exists (select 1 from refunds r join refunds mine on mine.id = :id where r.merchant_id = :merchant"
    " and r.invoice_id = mine.invoice_id and r.position < mine.position and r.state in ('pending', 'processing'))"
)
_DONE = text("select exists (select 1 from refund_attempts where refund_id = :id and outcome = 'done')")
_NEXT = text(
    "select id from refunds where merchant_id = :merchant and invoice_id = :invoice and state = 'pending'"
    " order by position limit 1"
)
_WRITTEN = (
    "id", "merchant_id", "state", "status_reason", "attention", "bank_return_id", "bank_code", "completed_at",
    "sequence", "updated_at",
)  # fmt: skip
_WRITTEN_INVOICE = (
    "id", "merchant_id", "state", "refunded", "refund_pending", "refunded_outside", "sequence", "updated_at",
)  # fmt: skip

_EVENTS = {
    RefundState.COMPLETED: EventType.REFUND_COMPLETED,
    RefundState.FAILED: EventType.REFUND_FAILED,
}


class RefundLedger:
    """Writes refunds as the application's role. Every method raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine, renderer: Renderer) -> None:
        self._engine = engine
        self._renderer = renderer

    async def open(self, order: OpenRefund) -> RefundStanding:
        """Records the refund and reserves its money, once. `RefundRefused`, `IssueWindowMissed`: nothing written."""
        async with as_merchant(self._engine, order.merchant_id, lock=order.refund_id) as connection:
            created = await _refund(connection, order.merchant_id, order.refund_id) is None
            if created:
                await refund_opening.record(connection, self._renderer, order)
            invoice, refund = await _locked(connection, order.merchant_id, order.refund_id)
            return await _standing(connection, invoice, refund, await _due(connection, refund), created=created)

    async def turn(self, merchant_id: str, refund_id: str) -> RefundStanding:
        """Takes its turn where every earlier refund of the invoice is over; says what stands."""
        async with as_merchant(self._engine, merchant_id) as connection:
            await _locked(connection, merchant_id, refund_id)
            taken = await connection.execute(_TURN, {"merchant": merchant_id, "id": refund_id})
            moved = taken.one_or_none() is not None
            invoice, refund = await _locked(connection, merchant_id, refund_id)
            standing = await _standing(connection, invoice, refund, [], created=moved)
            if moved:
                await audit.append(connection, _entry(refund, RefundState.PENDING, refund.state))
            return standing

    async def intend(
        self, merchant_id: str, refund_id: str, number: int, *, token: str, available: int, outside: int
    ) -> bool:
        """Claims the right to call payment/return for the `number`-th time; True for exactly one token ever.

        `available` is what the bank said it can still refund, `outside` what others have refunded by then (tiyn).
        """
        values = {"merchant": merchant_id, "id": refund_id, "number": number, "token": token, "available": available}
        async with as_merchant(self._engine, merchant_id, lock=refund_id) as connection:
            invoice, refund = await _locked(connection, merchant_id, refund_id)
            if refund.state is not RefundState.PROCESSING:
                return False
            inserted = (await connection.execute(_INTEND, values)).rowcount == 1
            claimed = (await connection.execute(_INTENT, values)).scalar_one_or_none() == token
            if inserted:
                now: datetime = (await connection.execute(_CLOCK)).scalar_one()
                if outside > invoice.refunded_outside:
                    known = {"merchant": merchant_id, "id": invoice.id, "outside": outside, "now": now}
                    await connection.execute(_OUTSIDE, known)
                note = f"{available} tiyn available, {outside} refunded outside"
                await audit.append(connection, _entry(refund, None, f"attempt_{number}", note=note))
        return claimed

    async def answered(self, merchant_id: str, refund_id: str, number: int, answer: Returned) -> None:
        """Keeps what the bank said to an attempt; the first real word stays."""
        values = msgspec.structs.asdict(answer) | {"merchant": merchant_id, "id": refund_id, "number": number}
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(_ANSWERED, values)

    async def standing(self, merchant_id: str, refund_id: str) -> RefundStanding:
        """What stands now, with every delivery that still waits for its first success."""
        async with as_merchant(self._engine, merchant_id) as connection:
            invoice, refund = await _locked(connection, merchant_id, refund_id)
            return await _standing(connection, invoice, refund, await _due(connection, refund), created=False)

    async def book(self, change: RefundChange) -> RefundStanding:
        """Makes one change; a repeated or meanwhile impossible one changes nothing and says what stands."""
        async with as_merchant(self._engine, change.merchant_id) as connection:
            invoice, before = await _locked(connection, change.merchant_id, change.refund_id)
            about = {"merchant": change.merchant_id, "id": change.refund_id, "cause": change.cause}
            told = (await connection.execute(_TOLD, about)).scalar_one()
            now: datetime = (await connection.execute(_CLOCK)).scalar_one()
            after = None if told else _changed(before, change, now)
            if after is not None and after.state is RefundState.FAILED:
                # The bank's "done" may have been written while somebody decided that it failed.
                executed = (await connection.execute(_DONE, {"id": before.id})).scalar_one()
                after = None if executed else after
            if after is None:
                return await _standing(connection, invoice, before, await _due(connection, before), created=False)
            await connection.execute(_WRITE, _values(after, _WRITTEN))
            booked = _settled(invoice, before, after, change.refunded_outside, now)
            if booked is not invoice:
                await connection.execute(_WRITE_INVOICE, _values(booked, _WRITTEN_INVOICE))
            due = await self._announce(connection, before, after, change.cause)
            if booked.sequence > invoice.sequence:
                due += await self._announce_invoice(connection, invoice, booked, after)
            standing = await _standing(connection, booked, after, due, created=True)
            await audit.append(connection, _decided(before, after, change))
            return standing

    async def _announce(
        self, connection: AsyncConnection, before: Refund, after: Refund, cause: str
    ) -> list[DeliveryRef]:
        type_ = _EVENTS.get(after.state) if after.state is not before.state else None
        if type_ is None and after.attention is not None:
            type_ = EventType.REFUND_ATTENTION_REQUIRED
        if type_ is None:
            return []  # an operator's "try again": the outcome will be the news
        return await announcing.announce(
            connection,
            self._renderer,
            after,
            type_=type_,
            sequence=after.sequence,
            cause=cause,
            is_sandbox=after.is_sandbox,
            now=after.updated_at,
            previous_state=before.state,
        )

    async def _announce_invoice(
        self, connection: AsyncConnection, before: Invoice, after: Invoice, refund: Refund
    ) -> list[DeliveryRef]:
        return await announcing.announce(
            connection,
            self._renderer,
            after,
            type_=EventType.INVOICE_REFUNDED,
            sequence=after.sequence,
            cause=_invoice_cause(refund),
            is_sandbox=after.is_sandbox,
            now=after.updated_at,
            previous_state=before.state,
        )


async def _refund(connection: AsyncConnection, merchant_id: str, refund_id: str) -> Refund | None:
    found = await connection.execute(_REFUND, {"merchant": merchant_id, "id": refund_id})
    row = found.mappings().one_or_none()
    return None if row is None else to_refund(row)


async def _locked(connection: AsyncConnection, merchant_id: str, refund_id: str) -> tuple[Invoice, Refund]:
    found = await connection.execute(_INVOICE_OF, {"merchant": merchant_id, "id": refund_id})
    invoice = to_invoice(found.mappings().one())
    refund = await _refund(connection, merchant_id, refund_id)
    if refund is None:
        raise LookupError("a refund's invoice was found, but not the refund")
    return invoice, refund


def _invoice_cause(refund: Refund) -> str:
    return f"refunded:{refund.id}"


async def _due(connection: AsyncConnection, refund: Refund) -> list[DeliveryRef]:
    """What still waits for its first success: the refund's own events, and the invoice's event about it."""
    own = await announcing.due_of_object(connection, merchant_id=refund.merchant_id, object_id=refund.id)
    return own + await announcing.due_of_cause(
        connection, merchant_id=refund.merchant_id, object_id=refund.invoice_id, cause=_invoice_cause(refund)
    )


async def _standing(
    connection: AsyncConnection, invoice: Invoice, refund: Refund, due: list[DeliveryRef], *, created: bool
) -> RefundStanding:
    attempts = [to_attempt(row) for row in (await connection.execute(_ATTEMPTS, {"id": refund.id})).mappings()]
    following, blocked = None, False
    if refund.state is RefundState.PENDING:
        about = {"merchant": refund.merchant_id, "id": refund.id}
        blocked = (await connection.execute(_BLOCKED, about)).scalar_one()
    if refund.state not in OPEN_REFUNDS:
        waiting = {"merchant": refund.merchant_id, "invoice": invoice.id}
        following = (await connection.execute(_NEXT, waiting)).scalar_one_or_none()
    return RefundStanding(
        state=refund.state,
        amount=refund.amount,
        sequence=refund.sequence,
        attention=refund.attention,
        bank_payment_id=refund.bank_payment_id,
        connection_id=refund.connection_id,
        expected=invoice.amount - invoice.refunded - invoice.refunded_outside,
        paid=invoice.amount,
        refunded_outside=invoice.refunded_outside,
        attempts=attempts,
        deliveries=due,
        next_refund=following,
        blocked=blocked,
        created=created,
    )


def _values(thing: Refund | Invoice, names: tuple[str, ...]) -> dict[str, object]:
    return {name: getattr(thing, name) for name in names}


def _changed(before: Refund, change: RefundChange, now: datetime) -> Refund | None:
    """The refund after the change, None when there is nothing to change or the change has become impossible."""
    state = change.state or before.state
    moves = state is not before.state
    if before.state not in OPEN_REFUNDS or (change.requires is not None and before.attention is not change.requires):
        return None
    if moves and not refund_can_become(before.state, state):
        return None
    attention = change.attention or (None if change.clear_attention or moves else before.attention)
    if not moves and attention is before.attention:
        return None
    return msgspec.structs.replace(
        before,
        state=state,
        attention=attention,
        status_reason=change.reason if moves else before.status_reason,
        bank_return_id=change.bank_return_id if change.bank_return_id is not None else before.bank_return_id,
        bank_code=change.bank_code if change.bank_code is not None else before.bank_code,
        completed_at=now if state is RefundState.COMPLETED else None,
        sequence=before.sequence + 1,
        updated_at=now,
    )


def _settled(invoice: Invoice, before: Refund, after: Refund, outside: int | None, now: datetime) -> Invoice:
    """The invoice's sums after the refund's change: what was reserved is given free, or has gone back."""
    if outside is not None and outside > invoice.refunded_outside:
        invoice = msgspec.structs.replace(invoice, refunded_outside=outside, updated_at=now)
    if after.state is before.state or after.state in OPEN_REFUNDS:
        return invoice
    freed = msgspec.structs.replace(invoice, refund_pending=invoice.refund_pending - after.amount, updated_at=now)
    if after.state is RefundState.FAILED:
        return freed
    refunded = freed.refunded + after.amount
    return msgspec.structs.replace(
        freed,
        refunded=refunded,
        state=State.REFUNDED if refunded == freed.amount else State.PARTIALLY_REFUNDED,
        sequence=freed.sequence + 1,
    )


def _entry(refund: Refund, before: str | None, after: str, *, note: str | None = None) -> AuditEntry:
    return AuditEntry(
        merchant_id=refund.merchant_id,
        actor=Actor(kind=ActorKind.WORKFLOW, id=f"refund-{refund.id}"),
        action=f"refund.{after}",
        object_type="refund",
        object_id=refund.id,
        is_sandbox=refund.is_sandbox,
        before=before,
        after=after,
        note=note,
    )


def _decided(before: Refund, after: Refund, change: RefundChange) -> AuditEntry:
    moved = after.state is not before.state
    word = after.state if moved else (after.attention or "attention_cleared")
    entry = _entry(
        after, before.state if moved else before.attention, word, note=change.note or _why(after, moved=moved)
    )
    if change.operator is None:
        return entry
    return msgspec.structs.replace(entry, actor=Actor(kind=ActorKind.OPERATOR, id=change.operator))


def _why(after: Refund, *, moved: bool) -> RefundReason | None:
    return after.status_reason if moved else None
