import re

from hypothesis import assume, given
from hypothesis import strategies as st

from domain.ids import INVOICE, derived_id, new_id

SHAPE = re.compile(r"inv_[a-z2-7]{26}")
SALT = b"salt of a merchant"
PART = st.text(st.characters(codec="utf-8", exclude_characters="\x1f"), max_size=20)
PARTS = st.lists(PART, min_size=1, max_size=4)


def test_a_derived_id_is_the_same_for_ever() -> None:
    # Written down once: a change of the derivation would let an old idempotency key bill a second time.
    assert derived_id(INVOICE, SALT, "mer_1", "live", "invoices", "order 7") == "inv_7yevrb2wxblr3ftmsij7ktt2ae"


@given(PARTS, PARTS)
def test_other_parts_give_another_id(one: list[str], other: list[str]) -> None:
    assume(one != other)
    assert derived_id(INVOICE, SALT, *one) == derived_id(INVOICE, SALT, *one)
    assert derived_id(INVOICE, SALT, *one) != derived_id(INVOICE, SALT, *other)


@given(PARTS, st.binary(min_size=1, max_size=32))
def test_another_salt_gives_another_id(parts: list[str], salt: bytes) -> None:
    assume(salt.rstrip(b"\0") != SALT)  # HMAC pads keys with zeros
    assert derived_id(INVOICE, salt, *parts) != derived_id(INVOICE, SALT, *parts)


@given(PARTS)
def test_an_id_has_the_public_shape_and_shows_nothing_of_its_parts(parts: list[str]) -> None:
    made = derived_id(INVOICE, SALT, *parts)
    assert SHAPE.fullmatch(made)


def test_fresh_ids_never_repeat() -> None:
    made = {new_id(INVOICE) for _ in range(2000)}
    assert len(made) == 2000
    assert all(SHAPE.fullmatch(one) for one in made)
