"""What the ApiPay contract's bodies and parameters may say."""

from datetime import UTC, date, datetime

import pytest

from api.apipay import query
from api.apipay.bodies import InvoiceRequest, RefundRequest, checked_phone
from api.bodies import read_body
from api.organizations import OrganizationVerify
from contracts.apipay_json import Status
from domain.errors import TolemError


def fields_of(error: TolemError) -> dict[str, str]:
    return {one.field: one.message for one in error.errors}


def test_their_own_example_is_a_bill() -> None:
    body = read_body(
        InvoiceRequest,
        b'{"amount": 10000, "phone_number": "87001234567", "description": null, "external_order_id": "order_123",'
        b' "webhook_id": 1}',
    )
    assert body.amount == 10000
    assert (checked_phone(body.phone_number), body.webhook_id) == ("77001234567", 1)
    assert body.description is None


@pytest.mark.parametrize(
    "phone",
    ["77001234567", "+77001234567", "7001234567", "8700123456", "870012345678", "8 700 123 45 67", "87272000000"],
)
def test_a_phone_is_8_and_ten_digits_of_a_mobile_number(phone: str) -> None:
    with pytest.raises(TolemError) as caught:
        read_body(InvoiceRequest, b'{"amount": 1, "phone_number": "%s"}' % phone.encode())
    assert set(fields_of(caught.value)) == {"phone_number"}


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(TolemError) as caught:
        read_body(
            InvoiceRequest,
            b'{"amount": 0.001, "phone_number": 7, "description": "%s", "external_order_id": "%s", "webhook_id": "x"}'
            % (b"d" * 501, b"o" * 256),
        )
    assert set(fields_of(caught.value)) == {
        "amount", "phone_number", "description", "external_order_id", "webhook_id",
    }  # fmt: skip
    with pytest.raises(TolemError) as caught:
        read_body(InvoiceRequest, b"{}")
    assert set(fields_of(caught.value)) == {"amount", "phone_number"}


def test_a_refund_may_be_whole_or_of_an_amount() -> None:
    assert read_body(RefundRequest, b"").amount is None
    with pytest.raises(TolemError) as caught:
        read_body(RefundRequest, b'{"amount": 0, "reason": "%s"}' % (b"r" * 501))
    assert set(fields_of(caught.value)) == {"amount", "reason"}


@pytest.mark.parametrize(
    ("idn", "word"), [("12345", "12 digits"), ("12345678901x", "12 digits"), ("123456789012", "check digit")]
)
def test_a_number_of_an_organisation_has_twelve_digits_and_the_last_one_checks(idn: str, word: str) -> None:
    with pytest.raises(TolemError) as caught:
        read_body(OrganizationVerify, b'{"idn": "%s"}' % idn.encode())
    assert word in fields_of(caught.value)["idn"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([], None),
        ([("status[]", "paid"), ("status[]", "expired")], [Status.PAID, Status.EXPIRED]),
        ([("status[0]", "paid"), ("status[10]", "pending")], [Status.PAID, Status.PENDING]),  # PHP's http_build_query
        ([("status", "cancelled"), ("status", "cancelled")], [Status.CANCELLED]),
        ([("status[]", "")], None),
        ([("statuses", "paid"), ("status[x]", "paid"), ("page", "2")], None),
    ],
)
def test_statuses_are_read_as_php_and_people_write_them(
    given: list[tuple[str, str]], found: list[Status] | None
) -> None:
    assert query.statuses(given) == found


def test_an_unknown_status_is_named() -> None:
    for word in ("canceled", "refunded", "x"):
        with pytest.raises(TolemError) as caught:
            query.statuses([("status[]", word)])
        assert set(fields_of(caught.value)) == {"status"}


def test_days_are_those_of_kazakhstan_and_in_order() -> None:
    since, before = query.days(date(2026, 11, 22), date(2026, 11, 22))
    assert since == datetime(2026, 11, 21, 19, tzinfo=UTC)
    assert before == datetime(2026, 11, 22, 19, tzinfo=UTC)
    with pytest.raises(TolemError) as caught:
        query.days(date(2026, 11, 23), date(2026, 11, 22))
    assert set(fields_of(caught.value)) == {"date_to"}
    with pytest.raises(TolemError) as caught:
        query.days(None, date.max)
    assert set(fields_of(caught.value)) == {"date_to"}


def test_pages_end_where_counting_does() -> None:
    assert query.offset_of(1, 10) == 0
    assert query.offset_of(101, 100) == 10_000
    with pytest.raises(TolemError):
        query.offset_of(102, 100)


def test_a_search_has_no_nul_and_blank_is_none() -> None:
    assert query.clean_search("  ") is None
    assert query.clean_search(" a ") == "a"
    with pytest.raises(TolemError):
        query.clean_search("a\x00")
