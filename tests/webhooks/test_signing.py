import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from webhooks.errors import SignatureMismatch
from webhooks.signing import new_secret, sign, verify

# The vector of the Standard Webhooks specification and its reference libraries.
SPEC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SPEC_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SPEC_TIME = datetime.fromtimestamp(1614265330, tz=UTC)
SPEC_BODY = b'{"test": 2432232314}'
SPEC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

BODY = '{"аты":"Әлия Қ.","сумма":"10000.00","note":"чек №5 🧾"}'.encode()
NOW = datetime(2026, 11, 22, 7, 30, 15, 999_999, tzinfo=UTC)
MINUTES = timedelta(minutes=5)


def v1(secret: str, event_id: str, seconds: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{event_id}.{seconds}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def test_the_vector_of_the_specification() -> None:
    headers = sign([SPEC_SECRET], SPEC_ID, SPEC_TIME, SPEC_BODY)
    assert headers["webhook-id"] == SPEC_ID
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == SPEC_SIGNATURE


def test_both_signatures_against_plain_hmac() -> None:
    first, second = new_secret(), new_secret()
    headers = sign([first, second], "evt_1", NOW, BODY)
    seconds = int(headers["webhook-timestamp"])
    assert seconds == 1795332615
    assert headers["webhook-signature"] == f"{v1(first, 'evt_1', seconds, BODY)} {v1(second, 'evt_1', seconds, BODY)}"
    whole = hmac.new(first.encode("utf-8"), BODY, hashlib.sha256).hexdigest()
    assert headers["X-Webhook-Signature"] == f"sha256={whole}"


def test_another_zone_is_the_same_moment() -> None:
    secret = new_secret()
    almaty = NOW.astimezone(timezone(timedelta(hours=5)))
    assert sign([secret], "evt_1", almaty, BODY) == sign([secret], "evt_1", NOW, BODY)


def test_the_reference_library_verifies_what_we_sign() -> None:
    secret = new_secret()
    headers = sign([secret], "evt_1", datetime.now(UTC), BODY)
    Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


def test_new_secrets_are_32_random_bytes() -> None:
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(s.startswith("whsec_") and len(base64.b64decode(s[6:], validate=True)) == 32 for s in made)


@pytest.mark.parametrize("position", [0, 1])
def test_either_secret_of_a_rotation_verifies(position: int) -> None:
    pair = [new_secret(), new_secret()]
    headers = {name.upper(): value for name, value in sign(pair, "evt_1", NOW, BODY).items()}
    verify(pair[position], headers, BODY, NOW, MINUTES)


def test_every_single_bit_change_is_refused() -> None:
    secret = new_secret()
    body = BODY[:40]
    headers = sign([secret], "evt_1", NOW, body)
    verify(secret, headers, body, NOW, MINUTES)
    for index in range(len(body) * 8):
        changed = bytearray(body)
        changed[index // 8] ^= 1 << index % 8
        with pytest.raises(SignatureMismatch):
            verify(secret, headers, bytes(changed), NOW, MINUTES)
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        for index in range(len(headers[name]) * 7):
            text = bytearray(headers[name].encode())
            text[index // 7] ^= 1 << index % 7
            with pytest.raises(SignatureMismatch):
                verify(secret, headers | {name: text.decode()}, body, NOW, timedelta(days=100_000))


@pytest.mark.parametrize("away", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_old_and_future_times_are_refused(away: timedelta) -> None:
    secret = new_secret()
    headers = sign([secret], "evt_1", NOW, BODY)
    with pytest.raises(SignatureMismatch, match="too far"):
        verify(secret, headers, BODY, NOW + away, MINUTES)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"webhook-id": ""},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "01795332615"},
        {"webhook-timestamp": "+1795332615"},
        {"webhook-timestamp": "1795332615.0"},
        {"webhook-timestamp": "1795332615\n"},
        {"webhook-timestamp": "９９"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "nan"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,%%%"},
        {"webhook-signature": "v1,подпись \udc80"},
        {"webhook-signature": "v1a,AAAA v2,AAAA"},
    ],
)
def test_broken_headers_are_a_mismatch_and_nothing_else(spoiled: dict[str, str]) -> None:
    secret = new_secret()
    with pytest.raises(SignatureMismatch):
        verify(secret, sign([secret], "evt_1", NOW, BODY) | spoiled, BODY, NOW, MINUTES)


def test_an_unknown_version_beside_ours_is_skipped() -> None:
    secret = new_secret()
    headers = sign([secret], "evt_1", NOW, BODY)
    headers["webhook-signature"] = f"v1a,AAAA junk {headers['webhook-signature']}"
    verify(secret, headers, BODY, NOW, MINUTES)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_%%%%" + "A" * 44, "plain" + "A" * 39, "ключ"])
def test_malformed_secrets_are_refused_without_repeating_them(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ and the base64") as caught:
        sign([secret], "evt_1", NOW, BODY)
    assert len(secret) < 7 or secret not in str(caught.value)


def test_what_cannot_be_signed() -> None:
    secret = new_secret()
    with pytest.raises(ValueError, match="1 to 10"):
        sign([], "evt_1", NOW, BODY)
    with pytest.raises(ValueError, match="1 to 10"):
        sign([secret] * 11, "evt_1", NOW, BODY)
    with pytest.raises(ValueError, match="aware"):
        sign([secret], "evt_1", NOW.replace(tzinfo=None), BODY)
    with pytest.raises(ValueError, match="empty"):
        sign([secret], "", NOW, BODY)
    with pytest.raises(ValueError, match="UTF-8") as caught:
        sign([secret], "evt_1", NOW, b"\xff")
    assert caught.value.__cause__ is None
