"""The bills of subscriptions: what the books say of one, and the order that makes one."""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.engine import as_merchant
from db.rows import SUBSCRIPTION_COLUMNS, to_subscription
from domain.bank import Scheme
from domain.invoice import CLOSED_UNPAID, OPEN, Kind, OpenInvoice, SubscriptionCharge
from domain.subscription import REMEMBERED, ChargeRef
from domain.subscription_record import (
    Billing,
    BillState,
    NewTerms,
    PayerAct,
    Subscription,
    charge_invoice_id,
    open_charge,
)

_CLOCK = text("select clock_timestamp()")
_BILL = text(
    "select id, subscription_period as number, subscription_charge as charge, state, status_reason, attention"
    " from invoices where merchant_id = :merchant and subscription_id = :id and subscription_period = :number"
    " and subscription_charge = :charge"
)
# Of the period that is open and of those that ended unpaid every bill, of the others those that brought money.
_UNHEARD = text(
    "select id, subscription_period as number, subscription_charge as charge, state, status_reason, attention"
    " from invoices where merchant_id = :merchant and subscription_id = :id and subscription_period >= :oldest"
    " and (subscription_period = :open or state not in ('processing', 'pending', 'canceled', 'expired', 'failed'))"
    " order by number, charge"
)
_BILLED = text(
    f"select {SUBSCRIPTION_COLUMNS}, subscriptions.endpoint_id, m.id_salt, c.id as bank_id, c.scheme as bank_scheme"
    " from subscriptions"
    " join merchants m on m.id = subscriptions.merchant_id"
    " left join connections c on c.merchant_id = subscriptions.merchant_id and c.active = 1"
    " where subscriptions.merchant_id = :merchant and subscriptions.id = :id"
)
_TERMS = text(
    "select amount, description, discount_percentage, items from subscription_terms"
    " where merchant_id = :merchant and subscription_id = :id and revision = :revision"
)
_SALT = text("select id_salt from merchants where id = :merchant")
_PAYER = text(
    "select payer, (select count(*) from invoices i where i.merchant_id = :merchant and i.subscription_id = :id"
    "   and (i.subscription_period, i.subscription_charge) < (:number, :charge)) as earlier"
    " from subscriptions where merchant_id = :merchant and id = :id"
)


class BillTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: how long a bill may take to be issued from when it is ordered, and `OpenInvoice.late_watch`."""

    window: float = 300.0
    late_watch: float = 86400.0


async def unheard(connection: AsyncConnection, stands: Subscription) -> list[BillState]:
    """The bills whose news the standing may have missed, oldest first."""
    standing = stands.standing
    bill = open_charge(standing)
    oldest = standing.paid[0].number if len(standing.paid) == REMEMBERED else 1
    values = {"merchant": stands.merchant_id, "id": stands.id, "oldest": oldest, "open": bill.number if bill else 0}
    found = [_state(row) for row in (await connection.execute(_UNHEARD, values)).mappings()]
    return [one for one in found if one.ref == bill or (_brought_money(one) and one.ref not in standing.paid)]


def _brought_money(bill: BillState) -> bool:
    return bill.state not in OPEN | CLOSED_UNPAID


def _state(row: RowMapping) -> BillState:
    ref = {"number": row["number"], "charge": row["charge"]}
    told = {"state": row["state"], "reason": row["status_reason"], "attention": row["attention"]}
    return msgspec.convert({"invoice_id": row["id"], "ref": ref} | told, BillState)


class SubscriptionBills:
    """Reads as the application's role. Every method raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine, times: BillTimes | None = None) -> None:
        self._engine = engine
        self._times = times or BillTimes()

    async def state(self, merchant_id: str, subscription_id: str, ref: ChargeRef) -> BillState | None:
        """What the books say of a bill, None where they know none."""
        async with as_merchant(self._engine, merchant_id) as connection:
            return await _known(connection, merchant_id, subscription_id, ref)

    async def bill(self, merchant_id: str, subscription_id: str, ref: ChargeRef, revision: int) -> Billing:
        """What the books say of a bill, or the order that makes it by these terms; see `Billing`."""
        named = {"merchant": merchant_id, "id": subscription_id}
        async with as_merchant(self._engine, merchant_id) as connection:
            known = await _known(connection, merchant_id, subscription_id, ref)
            if known is not None:
                return Billing(known=known)
            row = dict((await connection.execute(_BILLED, named)).mappings().one())
            salt, bank, scheme = row.pop("id_salt"), row.pop("bank_id"), row.pop("bank_scheme")
            endpoint = row.pop("endpoint_id")
            stands = to_subscription(row)
            if not stands.is_sandbox and scheme != Scheme.R3:
                return Billing()
            found = await connection.execute(_TERMS, named | {"revision": revision})
            terms = msgspec.convert(dict(found.mappings().one()), NewTerms)
            now: datetime = (await connection.execute(_CLOCK)).scalar_one()
        invoice_id = charge_invoice_id(salt, subscription_id, ref)
        order = self._order(stands, ref, terms, invoice_id, None if stands.is_sandbox else bank, now)
        return Billing(order=msgspec.structs.replace(order, endpoint_id=endpoint))

    def _order(
        self, stands: Subscription, ref: ChargeRef, terms: NewTerms, invoice_id: str, bank: str | None, now: datetime
    ) -> OpenInvoice:
        name = f"{stands.id}:{ref.number}:{ref.charge}"
        return OpenInvoice(
            invoice_id=invoice_id,
            merchant_id=stands.merchant_id,
            kind=Kind.PHONE,
            is_sandbox=stands.is_sandbox,
            amount=terms.amount,
            issue_before=now + timedelta(seconds=self._times.window),
            answer_by=now,  # nobody waits for an answer: that it is issued is told by an event
            fingerprint=name,
            operation="subscription",
            request_id=name,
            late_watch=self._times.late_watch,
            # The bank that is connected now: over the years it may be another than at the beginning.
            connection_id=bank,
            phone=stands.phone,
            description=terms.description,
            external_order_id=stands.external_order_id,
            discount_percentage=terms.discount_percentage,
            items=terms.items,
            subscription=SubscriptionCharge(subscription_id=stands.id, number=ref.number, charge=ref.charge),
            on_test_clock=stands.test_clock_id is not None,
        )

    async def invoice_id(self, merchant_id: str, subscription_id: str, ref: ChargeRef) -> str:
        """The id of a bill's invoice, whether or not it exists."""
        async with as_merchant(self._engine, merchant_id) as connection:
            salt = (await connection.execute(_SALT, {"merchant": merchant_id})).scalar_one()
        return charge_invoice_id(salt, subscription_id, ref)

    async def payer(self, merchant_id: str, subscription_id: str, ref: ChargeRef) -> PayerAct:
        """What the scripted payer does with this bill: the words bill after bill, the last one for ever."""
        named = {"merchant": merchant_id, "id": subscription_id}
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_PAYER, named | {"number": ref.number, "charge": ref.charge})).one()
        words: list[PayerAct] = [PayerAct(word) for word in row.payer] or [PayerAct.PAYS]
        earlier: int = row.earlier
        return words[min(earlier, len(words) - 1)]


async def _known(
    connection: AsyncConnection, merchant_id: str, subscription_id: str, ref: ChargeRef
) -> BillState | None:
    values = {"merchant": merchant_id, "id": subscription_id, "number": ref.number, "charge": ref.charge}
    row = (await connection.execute(_BILL, values)).mappings().one_or_none()
    return None if row is None else _state(row)
