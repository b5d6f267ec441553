import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from webhooks.errors import SignatureMismatch
from webhooks.signing import new_secret, new_signing_key, sign, verify

# The vector of the Standard Webhooks specification and its reference libraries.
SPEC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SPEC_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SPEC_TIME = datetime.fromtimestamp(1614265330, tz=UTC)
SPEC_BODY = b'{"test": 2432232314}'
SVIX_PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
SVIX_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SVIX_SIGNATURE = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
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
    # The older form carries one signature: by the oldest secret, so that a rotation breaks nobody before its time.
    whole = hmac.new(second.encode("utf-8"), BODY, hashlib.sha256).hexdigest()
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


def test_any_of_ten_secrets_verifies_and_no_other() -> None:
    secrets = [new_secret() for _ in range(10)]
    headers = {name.upper(): value for name, value in sign(secrets, "evt_1", NOW, BODY).items()}
    for secret in secrets:
        verify(secret, headers, BODY, NOW, MINUTES)
    assert headers["WEBHOOK-SIGNATURE"].split(" ") == [v1(one, "evt_1", 1795332615, BODY) for one in secrets]
    with pytest.raises(SignatureMismatch):
        verify(new_secret(), headers, BODY, NOW, MINUTES)


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
        {"webhook-id": "evt_1.1795332615"},
        {"webhook-id": "evt_\udc80"},
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


def test_the_vector_of_svix_for_v1a() -> None:
    """From svix-server's own tests; ed25519 is deterministic, so an equal text means an equal reading of the spec."""
    headers = sign([SPEC_SECRET], SPEC_ID, SPEC_TIME, SPEC_BODY, signing_key=SVIX_PRIVATE)
    assert headers["webhook-signature"] == f"{SPEC_SIGNATURE} {SVIX_SIGNATURE}"
    verify(SVIX_PUBLIC, headers, SPEC_BODY, SPEC_TIME, MINUTES)
    verify(SPEC_SECRET, headers, SPEC_BODY, SPEC_TIME, MINUTES)


def test_a_signing_key_is_confirmed_by_its_own_public_key_alone() -> None:
    (private, public), (_, other) = new_signing_key(), new_signing_key()
    assert len(base64.b64decode(private.removeprefix("whsk_"), validate=True)) == 64
    assert len(base64.b64decode(public.removeprefix("whpk_"), validate=True)) == 32
    headers = sign([new_secret()], "evt_1", NOW, BODY, signing_key=private)
    verify(public, headers, BODY, NOW, MINUTES)
    with pytest.raises(SignatureMismatch):
        verify(other, headers, BODY, NOW, MINUTES)
    with pytest.raises(SignatureMismatch):
        verify(public, sign([new_secret()], "evt_1", NOW, BODY), BODY, NOW, MINUTES)
    with pytest.raises(SignatureMismatch, match="too far"):
        verify(public, headers, BODY, NOW + timedelta(minutes=6), MINUTES)


def test_every_single_bit_change_is_refused_by_v1a_too() -> None:
    private, public = new_signing_key()
    body = BODY[:40]
    signed = sign([new_secret()], "evt_1", NOW, body, signing_key=private)
    headers = signed | {"webhook-signature": signed["webhook-signature"].split(" ")[1]}
    verify(public, headers, body, NOW, MINUTES)
    for index in range(len(body) * 8):
        changed = bytearray(body)
        changed[index // 8] ^= 1 << index % 8
        with pytest.raises(SignatureMismatch):
            verify(public, headers, bytes(changed), NOW, MINUTES)
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        for index in range(len(headers[name]) * 7):
            text = bytearray(headers[name].encode())
            text[index // 7] ^= 1 << index % 7
            with pytest.raises(SignatureMismatch):
                verify(public, headers | {name: text.decode()}, body, NOW, timedelta(days=100_000))


def test_malformed_signing_keys_are_refused_without_repeating_them() -> None:
    private, public = new_signing_key()
    stranger = base64.b64encode(
        base64.b64decode(private.removeprefix("whsk_"))[:32] + base64.b64decode(public.removeprefix("whpk_"))[::-1]
    ).decode()
    for key in ("", public, private[:-4], private.removeprefix("whsk_"), f"whsk_{stranger}", "whsk_%%%%"):
        with pytest.raises(ValueError, match="signing key") as caught:
            sign([new_secret()], "evt_1", NOW, BODY, signing_key=key)
        assert len(key) < 7 or key not in str(caught.value)
    headers = sign([new_secret()], "evt_1", NOW, BODY, signing_key=private)
    for key in ("whpk_", public[:-4], "whpk_%%%%"):
        with pytest.raises(ValueError, match="public key"):
            verify(key, headers, BODY, NOW, MINUTES)


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
    with pytest.raises(ValueError, match="dot"):
        sign([secret], "evt_1.5", NOW, BODY)
    with pytest.raises(ValueError, match="UTF-8") as caught:
        sign([secret], "evt_1", NOW, b"\xff")
    assert caught.value.__cause__ is None
