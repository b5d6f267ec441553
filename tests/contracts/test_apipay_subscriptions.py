"""Events of subscriptions in the words of ApiPay."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from contracts.apipay import ApiPay
from contracts.apipay_recurring import recurring
from contracts.rendering import Contracts
from domain.event import Dialect
from domain.subscription import Pause, SkipReason, State, Tell, Told
from domain.subscription_record import SubscriptionNews
from domain.subscription_rules import decide
from tests.contracts import samples
from tests.contracts.samples import MADE, PUBLIC_URL, begun
from tests.contracts.samples import subscription_event as event


def test_the_same_event_in_the_words_of_apipay() -> None:
    told = Told(what=Tell.PERIOD_SKIPPED, number=1, last=1, reason=SkipReason.PAUSED)
    paused = decide(begun(), Pause(), MADE).standing
    assert json.loads(ApiPay().webhook(event(told, paused, "inv_1"))) == {
        "event": "subscription.period_skipped",
        "data": {
            "subscription": {
                "id": 7,
                "amount": "10000.00",
                "phone_number": "87011234567",
                "description": "Абонплата",
                "interval": "monthly",
                "status": "paused",
                "start_date": "2026-11-22",
                "end_date": None,
                "next_billing_date": None,
                "created_at": "2026-11-22T06:17:33Z",
            },
            "invoice": "inv_1",
            "reason": "paused",
        },
        "source": "subscription",
        "timestamp": "2026-11-22T06:17:33Z",
    }


@pytest.mark.parametrize("state", State)
def test_apipay_knows_three_words_for_a_subscription(state: State) -> None:
    told = Told(what=Tell.PAUSED)
    one = event(told, msgspec.structs.replace(begun(), state=state))
    body = json.loads(Contracts(PUBLIC_URL).webhook(one, "whe_1", Dialect.APIPAY))
    assert body["data"]["subscription"]["status"] in {"active", "paused", "cancelled"}


def test_dates_in_apipays_words_are_almatys() -> None:
    late = datetime(2026, 11, 30, 20, tzinfo=UTC)  # the 1st in Almaty
    one = event(Told(what=Tell.RESUMED))
    news_ = msgspec.structs.replace(
        one,
        object=SubscriptionNews(
            subscription=samples.subscription(next_billing_at=late, ends_at=late + timedelta(days=1)),
            told=Told(what=Tell.RESUMED),
        ),
    )
    shown = json.loads(ApiPay().webhook(news_))["data"]["subscription"]
    assert (shown["next_billing_date"], shown["end_date"]) == ("2026-12-01", "2026-12-02")


def test_the_last_day_is_the_same_in_webhooks_and_in_answers() -> None:
    ends = datetime(2026, 12, 31, 19, tzinfo=UTC)  # midnight in Almaty: the year's last day is still billed
    one = samples.subscription(ends_at=ends)
    news_ = msgspec.structs.replace(
        event(Told(what=Tell.RESUMED)), object=SubscriptionNews(subscription=one, told=Told(what=Tell.RESUMED))
    )
    told = json.loads(ApiPay().webhook(news_))["data"]["subscription"]
    assert told["end_date"] == recurring(one).end_date == "2026-12-31"
