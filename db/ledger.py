"""The money writes. One call = one transaction = state + event + deliveries due + audit row; each may be repeated.

The audit row stands in the last statement of each transaction: it locks the merchant's chain until the commit.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import announcing, audit, invoice_audit
from db.engine import as_merchant
from db.errors import BankPaymentTaken, ChargeRefused, IssueWindowMissed
from db.key_hash import key_hash
from db.rows import INVOICE_COLUMNS, to_invoice
from domain.event import EventType
from domain.invoice import (
    CLOSED_UNPAID,
    OPEN,
    Attention,
    Booked,
    Change,
    DeliveryRef,
    Invoice,
    Kind,
    OpenInvoice,
    Reason,
    State,
    can_become,
)
from domain.policy import PHONE_GAPS
from domain.rendering import Renderer

# An answer may still be on its way to the merchant this long before its time is over.
ANSWER_MARGIN = timedelta(seconds=1)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the books say of an invoice; `told` is False while its creation has no outcome. `claim_age` in seconds."""

    booked: Booked
    told: bool
    claim_age: float


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """`claimed` is True for exactly one caller ever: the one that may call the bank."""

    invoice: Invoice
    claimed: bool


# The lock makes "too late" exact: whoever reads after `issue_before` under the same lock (reads.final_word) sees
# every claim that was made in time, and no claim can follow.
def _claim(lines: str = "") -> TextClause:
    """`lines` are more CTEs, over the row `opened`."""
    return text(
        f"""
        with numbered as (
            update merchants set last_invoice_number = last_invoice_number + 1
            where id = :merchant_id and clock_timestamp() < :issue_before
                and not exists (select 1 from invoices where id = :invoice_id)
            returning last_invoice_number as number
        ), opened as (
            insert into invoices (id, merchant_id, number, kind, is_sandbox, amount, item_count, discount_percentage,
                state, description, phone, external_order_id, connection_id, endpoint_id, subscription_id,
                subscription_period, subscription_charge, request_id, claim_token, claimed_at, created_at, updated_at)
            select :invoice_id, :merchant_id, number, :kind, :is_sandbox, :amount, :item_count, :discount_percentage,
                'processing', :description, :phone, :external_order_id, :connection_id, :endpoint_id, :subscription_id,
                cast(:subscription_period as int), cast(:subscription_charge as int), :request_id, :claim_token,
                now(), now(), now()
            from numbered returning *
        ), keyed as (
            insert into idempotency_keys (merchant_id, mode, operation, key_hash, fingerprint, resource_id)
            select merchant_id, :mode, :operation, :key_hash, :fingerprint, id from opened
            where cast(:key_hash as bytea) is not null
            on conflict on constraint pk_idempotency_keys do update
                set fingerprint = excluded.fingerprint, resource_id = excluded.resource_id, created_at = now(),
                    answer_status = null, answer_body = null
                where idempotency_keys.created_at < now() - interval '30 days'
        ){lines}, audited as ({audit.insert_from("opened")})
        select {INVOICE_COLUMNS} from opened
        """
    )


_CLAIM = _claim()
# The cart's lines in the same statement: a bill is never seen without them.
_CLAIM_CART = _claim(
    """, sold as (
            insert into invoice_items (invoice_id, position, merchant_id, catalog_item_id, name, unit, count_milli,
                price, price_overridden, sum, amount)
            select o.id, l.position, o.merchant_id, l.catalog_item_id, l.name, l.unit, l.count_milli, l.price,
                coalesce(l.price_overridden, false), l.sum, l.amount
            from opened o cross join jsonb_to_recordset(cast(:items as jsonb)) as l (position int,
                catalog_item_id text, name text, unit text, count_milli bigint, price bigint,
                price_overridden boolean, sum bigint, amount bigint)
        )"""
)
_BY_ID = text(f"select {INVOICE_COLUMNS}, claim_token from invoices where id = :id")
_FOR_UPDATE = text(
    f"select {INVOICE_COLUMNS}, request_id, deadline_at, claimed_at, clock_timestamp() as clock,"
    " exists (select 1 from events e where e.object_id = i.id and e.cause = :cause) as told"
    " from invoices i where id = :id for update"
)
_SET = (
    "update invoices set state = :state, status_reason = :status_reason, attention = :attention,"
    " bank_payment_id = :bank_payment_id, bank_code = :bank_code, qr_token = :qr_token, payment_link = :payment_link,"
    " expires_at = :expires_at, deadline_at = :deadline_at, paid_at = :paid_at, closed_at = :closed_at,"
    " sequence = :sequence,"
    " refunded_outside = :refunded_outside, updated_at = :updated_at where id = :id"
)
_WRITE = text(f"with written as ({_SET} returning id) {audit.insert_from('written')}")
# The first change of an invoice is its creation's answer: state, kept answer and watch in one statement.
_WRITE_FIRST = text(
    f"""
    with written as ({_SET} returning id), answered as (
        update idempotency_keys set answer_status = :answer_status, answer_body = :answer_body
        where merchant_id = :merchant_id and resource_id = :id and answer_status is null
    )
    {audit.insert_from("written")}
    """
)
_WATCH = text(
    "insert into bank_watches (invoice_id, merchant_id, connection_id, bank_payment_id, kind, poll_interval,"
    " next_check_at, deadline_at) values (:id, :merchant, :connection, :payment, :kind, :interval, :next, :deadline)"
    " on conflict (invoice_id) do nothing"
)
_WATCH_CLOSED = text(
    "update bank_watches set closed = true, checks = 0, next_check_at = now() + interval '20 seconds'"
    " where invoice_id = :id and merchant_id = :merchant"
)
_WATCH_PAID = text("delete from bank_watches where invoice_id = :id and merchant_id = :merchant")
_CANCEL_ASKED = text(
    "with asked as (update bank_watches set cancel_requested = true"
    " where invoice_id = :id and merchant_id = :merchant and not cancel_requested returning invoice_id)"
    f" {audit.insert_from('asked')}"
)


class Ledger:
    """Writes invoices as the application's role. Every method raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine, renderer: Renderer) -> None:
        self._engine = engine
        self._renderer = renderer

    async def open_invoice(self, order: OpenInvoice, claim_token: str | None = None) -> Opening:
        """Records the bill and the intent to call the bank, once; `IssueWindowMissed` when it is too late.

        `ChargeRefused`: a bill of a subscription that must not be; nothing was written.

        A call with another token finds the first row and gives `claimed=False`: somebody may already have called
        the bank. The same token may repeat a call whose commit was in doubt.
        """
        async with as_merchant(self._engine, order.merchant_id, lock=order.invoice_id) as connection:
            values = {field: getattr(order, field) for field in _CLAIM_FIELDS} | _charge(order)
            values["claim_token"] = claim_token or uuid4().hex
            values["item_count"] = len(order.items)
            values["mode"] = "test" if order.is_sandbox else "live"
            values["key_hash"] = key_hash(order.idempotency_key) if order.idempotency_key else None
            values |= audit.values(invoice_audit.opened(order))
            if order.items:
                values["items"] = msgspec.json.encode(order.items).decode()
            claim = _CLAIM_CART if order.items else _CLAIM
            row = (await _claimed(connection, claim, values)).mappings().one_or_none()
            if row is not None:
                # The statement that writes the lines does not see them.
                invoice = msgspec.structs.replace(to_invoice(row), items=order.items)
                return Opening(invoice=invoice, claimed=True)
            row = (await connection.execute(_BY_ID, {"id": order.invoice_id})).mappings().one_or_none()
        if row is None:
            raise IssueWindowMissed("issue_before has passed")
        invoice = to_invoice({name: row[name] for name in Invoice.__struct_fields__})
        return Opening(invoice=invoice, claimed=row["claim_token"] == claim_token)

    async def book(self, change: Change) -> Booked:
        """Makes one change; a repeated or meanwhile impossible one changes nothing and says what stands."""
        try:
            return await self._book(change)
        except IntegrityError as error:
            # Two at once with the same cause: who waited for the row's lock has not seen the other's event.
            if "uq_events_object_id" not in str(error.orig):
                raise
            return await self._book(change)

    async def _book(self, change: Change) -> Booked:
        async with as_merchant(self._engine, change.merchant_id) as connection:
            found = await connection.execute(_FOR_UPDATE, {"id": change.invoice_id, "cause": change.cause})
            row = found.mappings().one()
            before = to_invoice({name: row[name] for name in Invoice.__struct_fields__})
            after = None if row["told"] else _changed(before, change, row["clock"])
            if after is None:
                due = await announcing.due_of_cause(
                    connection, merchant_id=before.merchant_id, object_id=before.id, cause=change.cause
                )
                return _booked(before, row["deadline_at"], due, created=False)
            deadline = change.issued.deadline if change.issued else row["deadline_at"]
            await _watch(connection, before, after, change)
            in_time = change.announce_after is not None and row["clock"] < change.announce_after - ANSWER_MARGIN
            silent = in_time or not change.announce
            due = [] if silent else await self._announce(connection, before, after, change)
            values = {name: getattr(after, name) for name in _WRITTEN_FIELDS} | {"deadline_at": deadline}
            values |= audit.values(invoice_audit.changed(before, after, change))
            if before.sequence == 0:
                status, body = self._renderer.creation_answer(after, row["request_id"])
                values |= {"merchant_id": after.merchant_id, "answer_status": status, "answer_body": body}
            await _write(connection, _WRITE_FIRST if before.sequence == 0 else _WRITE, values)
        return _booked(after, deadline, due, created=True)

    async def knows(self, merchant_id: str, invoice_id: str) -> bool:
        """True when the bill was claimed by anybody, ever."""
        async with as_merchant(self._engine, merchant_id) as connection:
            return (await connection.execute(_BY_ID, {"id": invoice_id})).one_or_none() is not None

    async def standing(self, merchant_id: str, invoice_id: str) -> Standing:
        """What stands now, with every delivery that still waits for its first success."""
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_FOR_UPDATE, {"id": invoice_id, "cause": ""})).mappings().one()
            due = await announcing.due_of_object(connection, merchant_id=merchant_id, object_id=invoice_id)
        invoice = to_invoice({name: row[name] for name in Invoice.__struct_fields__})
        return Standing(
            booked=_booked(invoice, row["deadline_at"], due, created=False),
            told=invoice.sequence > 0,
            claim_age=(row["clock"] - row["claimed_at"]).total_seconds(),
        )

    async def _announce(
        self, connection: AsyncConnection, before: Invoice, after: Invoice, change: Change
    ) -> list[DeliveryRef]:
        only_attention = change.state is None and change.attention is not None
        return await announcing.announce(
            connection,
            self._renderer,
            after,
            type_=EventType.INVOICE_ATTENTION_REQUIRED if only_attention else EventType.INVOICE_STATUS_CHANGED,
            sequence=after.sequence,
            cause=change.cause,
            is_sandbox=after.is_sandbox,
            now=after.updated_at,
            previous_state=before.state,
        )

    async def cancel_asked(self, merchant_id: str, invoice_id: str, asked_by: str | None = None) -> None:
        """Remembers that the merchant wants to cancel, so that the bank's plain "Error" later reads as canceled.

        `asked_by` is the id of the API key, None for a wish from the Temporal UI.
        """
        entry = audit.values(invoice_audit.cancel_asked(merchant_id, invoice_id, asked_by))
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(_CANCEL_ASKED, {"id": invoice_id, "merchant": merchant_id} | entry)


def _charge(order: OpenInvoice) -> dict[str, Any]:
    of = order.subscription
    return {
        "subscription_id": None if of is None else of.subscription_id,
        "subscription_period": None if of is None else of.number,
        "subscription_charge": None if of is None else of.charge,
    }


async def _claimed(connection: AsyncConnection, claim: TextClause, values: dict[str, Any]) -> CursorResult[Any]:
    try:
        return await connection.execute(claim, values)
    except IntegrityError as error:
        if any(name in str(error.orig) for name in _CHARGE_GUARDS):
            raise ChargeRefused("the period has a live bill, or is not being billed") from error
        raise


async def _write(connection: AsyncConnection, statement: TextClause, values: dict[str, object]) -> None:
    try:
        await connection.execute(statement, values)
    except IntegrityError as error:
        if "bank_payment_id" in str(error.orig):
            raise BankPaymentTaken("the bank payment belongs to another invoice") from error
        raise


async def _watch(connection: AsyncConnection, before: Invoice, after: Invoice, change: Change) -> None:
    """Keeps the poller's list in step with the invoice."""
    if after.is_sandbox:
        return
    target = {"id": after.id, "merchant": after.merchant_id}
    if change.issued and after.state in OPEN:
        first = PHONE_GAPS[0][1] if after.kind is Kind.PHONE else change.issued.poll_interval
        watched = {
            "connection": after.connection_id,
            "payment": after.bank_payment_id,
            "kind": after.kind,
            "interval": change.issued.poll_interval,
            "next": after.updated_at + timedelta(seconds=first),
            "deadline": change.issued.deadline,
        }
        await connection.execute(_WATCH, target | watched)
    elif after.state in CLOSED_UNPAID and before.state not in CLOSED_UNPAID:
        await connection.execute(_WATCH_CLOSED, target)
    elif after.state is State.PAID:
        await connection.execute(_WATCH_PAID, target)


# What the database says of a bill that its subscription must not have: the names of a trigger's message and an index.
_CHARGE_GUARDS = (
    "this period is not being billed",
    "uq_invoices_live_charge",
    "uq_invoices_subscription_id_period_charge",
)
_CLAIM_FIELDS = (
    "invoice_id", "merchant_id", "kind", "is_sandbox", "amount", "issue_before", "fingerprint", "operation",
    "request_id", "connection_id", "endpoint_id", "phone", "description", "external_order_id", "discount_percentage",
)  # fmt: skip
_WRITTEN_FIELDS = (
    "id", "state", "status_reason", "attention", "bank_payment_id", "bank_code", "qr_token", "payment_link",
    "expires_at", "paid_at", "closed_at", "refunded_outside", "sequence", "updated_at",
)  # fmt: skip


def _changed(before: Invoice, change: Change, now: datetime) -> Invoice | None:
    """The invoice after the change, None when there is nothing to change or the change has become impossible."""
    state = change.state or before.state
    moves = state is not before.state
    if change.requires is not None and before.attention is not change.requires:
        return None
    if moves and not can_become(before.state, state):
        return None
    if change.attention is Attention.OUTCOME_UNKNOWN and before.bank_payment_id is not None:
        return None  # a second run of the same step was too hasty: the first has the bank's answer
    attention = change.attention or (None if change.clear_attention else before.attention)
    reason = change.reason if change.state else before.status_reason
    late = moves and state is State.PAID and before.state in CLOSED_UNPAID
    if late:
        attention, reason = Attention.PAID_LATE, Reason.PAID_LATE
    outside = max(before.refunded_outside, change.refunded_outside or 0)
    kept = (before.attention, before.status_reason, before.refunded_outside)
    if not moves and (attention, reason, outside) == kept:
        return None
    issued = change.issued
    return msgspec.structs.replace(
        before,
        state=state,
        status_reason=reason,
        attention=attention,
        bank_payment_id=issued.bank_payment_id if issued else before.bank_payment_id,
        bank_code=change.bank_code if change.bank_code is not None else before.bank_code,
        qr_token=issued.qr_token if issued else before.qr_token,
        payment_link=issued.payment_link if issued else before.payment_link,
        expires_at=issued.expires_at if issued else before.expires_at,
        paid_at=now if state is State.PAID and before.paid_at is None else before.paid_at,
        closed_at=now if moves and state in CLOSED_UNPAID else before.closed_at,
        refunded_outside=outside,
        sequence=before.sequence + 1,
        updated_at=now,
    )


def _booked(invoice: Invoice, deadline: datetime | None, due: list[DeliveryRef], *, created: bool) -> Booked:
    return Booked(
        state=invoice.state,
        attention=invoice.attention,
        deadline=deadline,
        bank_payment_id=invoice.bank_payment_id,
        deliveries=due,
        created=created,
    )
