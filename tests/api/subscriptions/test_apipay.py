"""ApiPay's recurring invoices without an engine: kept answers and dates."""

from datetime import datetime
from typing import Any

import pytest

from domain.billing_calendar import ALMATY
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
    print_ = await keeper.print_of_creation(datetime(2020, 1, 31, 10, tzinfo=ALMATY))
    await keeper.keep(one.id, print_, "rec-1")
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
