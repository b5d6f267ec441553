"""ApiPay's recurring invoices without an engine: kept answers and dates."""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from api.idempotency import fingerprint
from api.subscribing import OPERATION, AskedSubscription
from db.engine import as_merchant
from db.kept_answers import KeyedAnswer, keep_answer
from domain.billing_calendar import ALMATY, Plan
from domain.merchant import Mode
from domain.subscription import Dunning
from tests.api.subscriptions.keeper import Keeper

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

PATH = "/api/recurring-invoices"
BODY: dict[str, Any] = {"amount": 10000, "phone_number": "87011234567", "interval": "monthly"}


async def test_a_repeat_on_a_later_day_gets_its_subscription_and_no_new_rule(keeper: Keeper) -> None:
    """Its day was still to come when it was asked for; who is told "in the past" now would ask for a second one."""
    one = await keeper.subscriber.open(sandbox=True)
    body = BODY | {"start_date": "2020-01-31"}
    headers = {"Idempotency-Key": "rec-1"}
    refused = await keeper.test.post(PATH, json=body, headers=headers)
    assert (refused.status_code, list(refused.json()["errors"])) == (422, ["start_date"])
    await kept(keeper, one.id, datetime(2020, 1, 31, 10, tzinfo=ALMATY))
    again = await keeper.test.post(PATH, json=body, headers=headers)
    assert again.status_code == 200, again.text
    assert (again.json()["tolem_id"], again.headers["idempotent-replayed"]) == (one.id, "true")
    other = await keeper.test.post(PATH, json=BODY | {"start_date": "2020-02-01"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("dates", "named"),
    [
        ({"end_date": "2250-01-01"}, ["end_date"]),
        ({"end_date": "9999-12-31"}, ["end_date"]),
        ({"start_date": "2190-01-01"}, ["start_date"]),
        ({"start_date": "0001-01-01", "end_date": "0001-01-01"}, ["start_date"]),
        ({"start_date": "2020-01-01", "end_date": "2019-01-01"}, ["start_date", "end_date"]),
    ],
    ids=str,
)
async def test_wrong_dates_are_named_as_they_were_asked_for(
    keeper: Keeper, dates: dict[str, str], named: list[str]
) -> None:
    answer = await keeper.test.post(PATH, json=BODY | dates)
    assert (answer.status_code, sorted(answer.json()["errors"])) == (422, sorted(named))


async def kept(keeper: Keeper, subscription_id: str, started_at: datetime) -> None:
    """The answer to `BODY` with this start is kept for the key "rec-1", as the books do with what they write."""
    asked = AskedSubscription(
        phone="77011234567",
        amount=1_000_000,
        cart=None,
        description=None,
        external_order_id=None,
        is_sandbox=True,
        plan=Plan(),
        dunning=Dunning(),
        started_at=started_at,
        bill_immediately=False,
        metadata={},
        test_clock=None,
        payer=[],
    )
    (row,) = await keeper.shop.books.fetch("select id_salt from merchants where id = :id", id=keeper.shop.id)
    print_ = fingerprint(row["id_salt"], OPERATION, *msgspec.structs.astuple(asked))
    keyed = KeyedAnswer(mode=Mode.TEST, operation=OPERATION, key="rec-1", fingerprint=print_, status=201, body=b"{}")
    async with as_merchant(keeper.shop.books.app, keeper.shop.id) as connection:
        assert await keep_answer(connection, keeper.shop.id, subscription_id, keyed)
