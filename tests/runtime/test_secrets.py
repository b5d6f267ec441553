import base64
import hashlib
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.merchant import Mode
from runtime.secrets import (
    KeyRing,
    SealBox,
    SealBroken,
    Secret,
    api_key_mode,
    hash_api_key,
    new_api_key,
    parse_keyring,
)

OLD, NEW = bytes(32), bytes(range(32))
RING = KeyRing("new", {"new": NEW, "old": OLD})


def test_a_secret_hides_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_keyring_of_text() -> None:
    new, old = base64.b64encode(NEW).decode(), base64.urlsafe_b64encode(b"\xff" * 32).decode().rstrip("=")
    ring = parse_keyring(f"k2:{new}, k1:{old}")
    assert ring.primary == "k2"
    assert ring.ids == ("k2", "k1")
    assert ring.key("k2") == NEW
    assert ring.key("k1") == b"\xff" * 32
    assert ring.key("k3") is None
    assert repr(ring) == "KeyRing(k2, k1)"


@pytest.mark.parametrize("text", ["", "k1", "k1:", "k 1:AAAA", "k1:не base64", f"k1:{'A' * 42}", "a:b:c"])
def test_a_broken_keyring_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="entry 1"):
        parse_keyring(text)


@given(plaintext=st.binary(max_size=300), context=st.text(max_size=40))
def test_what_is_sealed_opens_in_its_context(plaintext: bytes, context: str) -> None:
    box = SealBox(RING)
    sealed = box.seal(plaintext, context)
    assert box.open(sealed, context) == plaintext
    with pytest.raises(SealBroken):
        box.open(sealed, context + "x")


def test_the_same_plaintext_never_seals_alike() -> None:
    box = SealBox(RING)
    sealed = {box.seal(b"device-token", "connection:con_1") for _ in range(50)}
    assert len(sealed) == 50
    assert not any(b"device-token" in each for each in sealed)


def test_any_changed_byte_is_noticed() -> None:
    box = SealBox(RING)
    sealed = box.seal(b"device-token", "connection:con_1")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            box.open(bytes(changed), "connection:con_1")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            box.open(sealed[:length], "connection:con_1")


def test_rotation_keeps_old_seals_readable_and_says_which_are_old() -> None:
    before = SealBox(KeyRing("old", {"old": OLD})).seal(b"x", "c")
    box = SealBox(RING)
    assert box.open(before, "c") == b"x"
    assert box.needs_resealing(before)
    assert not box.needs_resealing(box.seal(b"x", "c"))


def test_a_removed_key_is_named() -> None:
    sealed = SealBox(KeyRing("gone", {"gone": OLD})).seal(b"x", "c")
    with pytest.raises(SealBroken, match="'gone'"):
        SealBox(RING).open(sealed, "c")


def test_another_key_under_the_same_id_does_not_open() -> None:
    sealed = SealBox(KeyRing("new", {"new": OLD})).seal(b"x", "c")
    with pytest.raises(SealBroken):
        SealBox(RING).open(sealed, "c")


def test_the_key_id_is_part_of_what_is_sealed() -> None:
    box = SealBox(KeyRing("one", {"one": NEW, "two": NEW}))
    sealed = box.seal(b"x", "c")
    with pytest.raises(SealBroken):
        box.open(sealed.replace(b"one", b"two", 1), "c")


@pytest.mark.parametrize("mode", list(Mode))
def test_api_keys_say_their_mode_and_are_all_different(mode: Mode) -> None:
    keys = {new_api_key(mode) for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        assert re.fullmatch(rf"tk_{mode}_[0-9A-Za-z]{{38}}", key)
        assert api_key_mode(key) is mode


def test_a_typo_in_an_api_key_is_noticed() -> None:
    key = new_api_key(Mode.TEST)
    for place in range(len("tk_test_"), len(key)):
        other = "a" if key[place] != "a" else "b"
        assert api_key_mode(key[:place] + other + key[place + 1 :]) is None


@pytest.mark.parametrize("key", ["", "tk_test_", "tk_test_" + "a" * 38, "sk_live_x", "tk_test_" + "ы" * 38])
def test_noise_is_no_api_key(key: str) -> None:
    assert api_key_mode(key) is None


def test_a_key_does_not_change_its_mode() -> None:
    key = new_api_key(Mode.TEST)
    assert api_key_mode(key.replace("tk_test_", "tk_live_")) is None
    assert api_key_mode(key + "\n") is None


def test_the_hash_is_plain_sha256() -> None:
    assert hash_api_key("tk_test_x") == hashlib.sha256(b"tk_test_x").digest()
