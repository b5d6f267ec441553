import pytest

from domain.errors import MESSAGES, RETRYABLE, Code, FieldError, TolemError, invalid
from domain.event import EventType, known_pattern, wanted
from domain.merchant import ConnectionSecrets


@pytest.mark.parametrize("type_", EventType)
def test_every_event_can_be_subscribed_to_by_name_and_by_star(type_: EventType) -> None:
    assert known_pattern(type_)
    assert wanted(type_, [type_])
    assert wanted(type_, ["*"])


def test_a_name_of_the_published_contract_is_accepted_and_an_invented_one_is_not() -> None:
    assert known_pattern("invoice.refunded")
    assert known_pattern("*")
    assert known_pattern("invoice.*")
    assert not known_pattern("bills.*")
    assert not known_pattern("invoice.")
    assert not known_pattern("")


def test_only_a_test_event_comes_unasked() -> None:
    others = set(EventType) - {EventType.WEBHOOK_TEST}
    assert wanted(EventType.WEBHOOK_TEST, [])
    assert {type_ for type_ in others if wanted(type_, ["invoice.refunded"])} == {EventType.INVOICE_REFUNDED}


def test_every_code_has_a_message_and_only_harmless_repeats_are_called_retryable() -> None:
    assert set(MESSAGES) == set(Code)
    assert all(text.endswith(".") for text in MESSAGES.values())
    # Repeating these could bill twice, or can never help.
    assert not {Code.KASPI_OUTCOME_UNKNOWN, Code.KASPI_REFUSED, Code.IDEMPOTENCY_KEY_REUSED} & RETRYABLE


def test_an_error_carries_its_code_in_its_text() -> None:
    assert str(TolemError(Code.NOT_FOUND)) == "not_found: There is no such object."
    refused = invalid(FieldError("amount", "invalid", "must be a number"), FieldError("phone_number", "missing", "…"))
    assert refused.code is Code.INVALID_REQUEST
    assert [one.field for one in refused.errors] == ["amount", "phone_number"]


def test_a_connections_secrets_show_nothing_of_themselves() -> None:
    secrets = ConnectionSecrets(device_token="token-of-device", api_key="prod_key")
    assert "token-of-device" not in repr(secrets) + str(secrets)
    assert "prod_key" not in f"{secrets!r}"
