"""The fact sheet's table of codes, written down once more by hand, against ours."""

import pytest

from kaspi.codes import CODES, MONEY_CALLS, Call, classify, failure, is_success
from kaspi.errors import (
    KaspiError,
    KaspiMisconfigured,
    KaspiNotFound,
    KaspiOutcomeUnknown,
    KaspiRefused,
    KaspiThrottled,
    KaspiUnavailable,
)

CREATES = "qr/create qr/create-link"
REMOTE = "remote/client-info remote/create remote/cancel"
# code, calls that list it, class (fact sheet §4); return/* calls are not ours.
SHEET = [
    (-10000, "partner/tradepoints device/register device/delete qr/create payment/status payment/return", "M"),
    (-1501, f"{CREATES} payment/return {REMOTE}", "M"),
    (-1502, f"{CREATES} payment/return", "M"),
    (-1503, "device/register", "M"),
    (-1601, "payment/status payment/details payment/return", "N"),
    (-14000002, "partner/tradepoints", "M"),
    (-99000001, "payment/return remote/cancel", "N"),
    (-99000002, f"device/register {CREATES} payment/return {REMOTE}", "M"),
    (-99000003, "payment/return", "M"),
    (-99000005, "payment/return", "B"),
    (-99000006, "payment/return", "A"),
    (-99000011, "payment/return", "B"),
    (-99000020, "payment/return", "B"),
    (990000018, f"{CREATES} payment/return {REMOTE}", "M"),
    (990000026, f"device/register {CREATES}", "M"),
    (990000028, f"{CREATES} remote/create", "B"),
    (990000033, CREATES, "M"),
    (-1401, REMOTE, "B"),
    (-1404, REMOTE, "B"),
    (990000029, "remote/client-info", "B"),
    (990000031, "remote/client-info", "B"),
    (990000032, "remote/client-info remote/create", "B"),
    (99000010, "remote/create", "B"),
]
CLASSES: dict[str, type[KaspiError]] = {
    "M": KaspiMisconfigured,
    "B": KaspiRefused,
    "N": KaspiNotFound,
    "A": KaspiOutcomeUnknown,
}


@pytest.mark.parametrize(("code", "calls", "letter"), SHEET)
def test_every_listed_code_has_the_sheets_class(code: int, calls: str, letter: str) -> None:
    for call in calls.split():
        assert classify(call, code) is CLASSES[letter], call
        error = failure(call, code)
        assert (error.call, error.code) == (call, code)
        assert error.reason


def test_the_sheet_and_our_table_hold_the_same_codes() -> None:
    assert {code for code, _, _ in SHEET} == set(CODES)


@pytest.mark.parametrize("call", list(Call))
def test_no_code_makes_a_money_call_look_harmless_to_repeat(call: Call) -> None:
    for code in [*CODES, -999, 1, -1, -990000018, 99000033]:
        if is_success(call, code):
            continue
        error = classify(call, code)
        if call in MONEY_CALLS:
            assert not issubclass(error, KaspiUnavailable), code
        elif code != -99000006:
            assert error is not KaspiOutcomeUnknown, code


@pytest.mark.parametrize("call", list(Call))
@pytest.mark.parametrize("code", [1, -1, 123456, -990000018, 99000033, -14000003])
def test_unknown_codes_never_refuse(call: Call, code: int) -> None:
    assert classify(call, code) is (KaspiOutcomeUnknown if call in MONEY_CALLS else KaspiUnavailable)


def test_codes_that_make_no_sense_for_a_money_call_are_unknown_there() -> None:
    assert classify("remote/create", -1601) is KaspiOutcomeUnknown
    assert classify("remote/create", -99000005) is KaspiOutcomeUnknown
    assert classify("payment/return", -1404) is KaspiOutcomeUnknown
    assert classify("remote/cancel", 99000010) is KaspiOutcomeUnknown


def test_temporarily_unavailable_depends_on_the_call() -> None:
    for call in ("remote/create", "remote/cancel", "payment/return"):
        assert classify(call, -999) is KaspiOutcomeUnknown
    for call in ("payment/status", "remote/client-info"):
        assert classify(call, -999) is KaspiThrottled
    for call in ("qr/create", "qr/create-link", "device/register", "health/ping", "payment/details"):
        assert classify(call, -999) is KaspiUnavailable


def test_a_device_already_gone_is_deleted() -> None:
    assert is_success("device/delete", -1501)
    assert not is_success("qr/create", -1501)
    with pytest.raises(ValueError, match="success"):
        classify("device/delete", -1501)
    with pytest.raises(ValueError, match="success"):
        classify("qr/create", 0)


def test_the_text_of_an_error_holds_our_words_only() -> None:
    error = failure("remote/create", -1404, "Клиент 87011234567 Иванов не найден")
    assert str(error) == "remote/create: refused_1404 (code -1404)"
    assert "8701" not in repr(error)
    assert error.bank_message == "Клиент 87011234567 Иванов не найден"
