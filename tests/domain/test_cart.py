"""Carts against a model that knows nothing of our integers: exact fractions of tenge."""

import random
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.cart import (
    MAX_LINES,
    AskedItem,
    BadCart,
    BadDiscount,
    CartLine,
    InvoiceItem,
    ItemRefused,
    LineStanding,
    RefundItem,
    parse_discount,
    price_cart,
    refund_of,
    shares,
)
from domain.catalog import MAX_COUNT_MILLI, Unit
from domain.money import MAX_TIYN

TIYN = Decimal("0.01")


def line(price: int = 10_000, count_milli: int = 1000) -> CartLine:
    return CartLine(name="Чай", unit=Unit.KILOGRAM, count_milli=count_milli, price=price)


LINES = st.lists(
    st.builds(
        line,
        price=st.one_of(st.integers(1, 1000), st.integers(1, MAX_TIYN)),
        count_milli=st.one_of(st.integers(1, 20).map(lambda whole: whole * 1000), st.integers(1, MAX_COUNT_MILLI)),
    ),
    min_size=1,
    max_size=MAX_LINES,
)
DISCOUNTS = st.none() | st.integers(1, 10_000).map(lambda hundredths: Decimal(hundredths).scaleb(-2))


def rounded(exact: Fraction) -> Decimal:
    """Half up to the tiyn by `decimal`'s own word; the quotient of 40 digits is longer than any tie of ours."""
    return (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(TIYN, ROUND_HALF_UP)


def modelled(lines: list[CartLine], discount: Decimal | None) -> tuple[list[Decimal], Decimal]:
    """Sums of the lines and the amount, in tenge."""
    sums = [rounded(Fraction(one.price, 100) * Fraction(one.count_milli, 1000)) for one in lines]
    kept = Fraction(1) - Fraction(discount or 0) / 100
    return sums, rounded(Fraction(sum(sums)) * kept)


@settings(max_examples=1000)
@given(LINES, DISCOUNTS)
def test_a_cart_comes_to_what_exact_fractions_say(lines: list[CartLine], discount: Decimal | None) -> None:
    sums, amount = modelled(lines, discount)
    possible = all(Decimal("0.01") <= one <= Decimal("99999999.99") for one in sums)
    if not possible or sum(sums) > Decimal("99999999.99") or amount == 0:
        with pytest.raises(BadCart):
            price_cart(lines, discount)
        return
    cart = price_cart(lines, discount)
    assert [Decimal(item.sum) / 100 for item in cart.items] == sums
    assert Decimal(cart.amount) / 100 == amount
    assert Decimal(cart.subtotal) / 100 == sum(sums)
    assert sum(item.amount for item in cart.items) == cart.amount
    for item in cart.items:
        exact = Fraction(item.sum * cart.amount, cart.subtotal)
        assert 0 <= item.amount <= item.sum
        assert abs(item.amount - exact) < 1


@settings(max_examples=300)
@given(LINES)
def test_without_a_discount_every_line_is_paid_in_full(lines: list[CartLine]) -> None:
    try:
        cart = price_cart(lines)
    except BadCart:
        return
    assert [item.amount for item in cart.items] == [item.sum for item in cart.items]
    assert [item.position for item in cart.items] == list(range(1, len(lines) + 1))


def test_a_thousand_random_shopping_carts() -> None:
    """Ordinary carts, where hypothesis looks for odd ones; each is refunded to the last tiyn in a random order."""
    bought = sum(_shop(random.Random(seed)) for seed in range(1000))
    assert bought > 950


def _shop(dice: random.Random) -> bool:
    """False where the discount left nothing to pay."""
    lines = [
        line(dice.randint(1, 500_000), dice.choice([1000, 2000, 3000, dice.randint(1, 9999)]))
        for _ in range(dice.randint(1, 12))
    ]
    lines = [one for one in lines if one.price * one.count_milli >= 500] or [line()]
    discount = dice.choice([None, Decimal(dice.randint(1, 9999)).scaleb(-2), Decimal(10), Decimal("33.33")])
    sums, amount = modelled(lines, discount)
    if amount == 0:
        with pytest.raises(BadCart, match="nothing to pay"):
            price_cart(lines, discount)
        return False
    cart = price_cart(lines, discount)
    assert Decimal(cart.amount).scaleb(-2) == amount
    assert [Decimal(item.sum).scaleb(-2) for item in cart.items] == sums
    assert sum(item.amount for item in cart.items) == cart.amount
    _refund_all(dice, cart.items, cart.amount)
    return True


def _refund_all(dice: random.Random, items: list[InvoiceItem], amount: int) -> None:
    """Random parts of random lines until nothing is left; some fail, and give back what they reserved."""
    done: dict[int, list[RefundItem]] = {item.position: [] for item in items}
    by_position = {item.position: item for item in items}

    def standing(position: int) -> LineStanding:
        item = by_position[position]
        back = done[position]
        return LineStanding(
            position=position,
            count_milli=item.count_milli,
            amount=item.amount,
            refunded=sum(one.amount for one in back),
            refunded_milli=sum(one.count_milli or 0 for one in back),
        )

    for _ in range(60):
        position = dice.choice(list(done))
        before = standing(position)
        kind = dice.choice(["count", "amount", "rest"])
        asked = AskedItem(
            position=position,
            count_milli=dice.randint(1, before.count_milli) if kind == "count" else None,
            amount=dice.randint(1, max(1, before.amount)) if kind == "amount" else None,
        )
        try:
            made = refund_of(before, asked)
        except ItemRefused as refused:
            assert refused.left == before.left  # noqa: PT017 -- where it is refused depends on the dice
            continue
        done[position].append(made)
        after = standing(position)
        assert made.amount >= 1
        assert after.left >= 0
        assert after.refunded_milli <= after.count_milli
        if dice.random() < 0.2:
            done[position].remove(made)
    for position, item in by_position.items():
        if standing(position).left:
            made = refund_of(standing(position), AskedItem(position=position))
            done[position].append(made)
        assert sum(one.amount for one in done[position]) == item.amount
        with pytest.raises(ItemRefused):
            refund_of(standing(position), AskedItem(position=position))
    assert sum(one.amount for back in done.values() for one in back) == amount


@settings(max_examples=300)
@given(
    st.integers(1, MAX_TIYN), st.lists(st.integers(1, 50), min_size=1, max_size=20), st.randoms(use_true_random=False)
)
def test_returning_a_line_part_by_part_gives_all_of_it_and_each_part_its_worth(
    amount: int, parts: list[int], dice: random.Random
) -> None:
    dice.shuffle(parts)
    whole, back, returned = sum(parts), 0, 0
    for part in parts:
        line_ = LineStanding(position=1, count_milli=whole, amount=amount, refunded=back, refunded_milli=returned)
        try:
            made = refund_of(line_, AskedItem(position=1, count_milli=part))
        except ItemRefused:
            # Less than a tiyn: it goes with another part.
            assert Fraction(amount * part, whole) < 1
            continue
        assert abs(made.amount - Fraction(amount * part, whole)) <= 1 or returned + part == whole
        back, returned = back + made.amount, returned + part
    if returned == whole:
        assert back == amount
    assert back <= amount


@given(st.integers(0, MAX_TIYN), st.lists(st.integers(1, MAX_TIYN), min_size=1, max_size=50))
def test_shares_add_up_and_are_within_a_tiyn_of_fair(amount: int, weights: list[int]) -> None:
    given_ = shares(amount, weights)
    assert sum(given_) == amount
    for share, weight in zip(given_, weights, strict=True):
        assert abs(share - Fraction(amount * weight, sum(weights))) < 1


def test_the_rounding_rule_by_example() -> None:
    # 3 × 33.33 = 99.99, less 10 % = 89.991, which is 89.99: of 29.9966… each, two lines get 30.00 and one 29.99.
    cart = price_cart([line(3333), line(3333), line(3333)], Decimal(10))
    assert (cart.subtotal, cart.amount) == (9999, 8999)
    assert [item.amount for item in cart.items] == [3000, 3000, 2999]
    # A half goes up: 0.5 kg at 0.01 is 0.01, and half of 0.01 off leaves 0.01.
    assert price_cart([line(1, 500)]).amount == 1
    assert price_cart([line(1)], Decimal(50)).amount == 1


def test_a_discount_never_makes_an_invoice_of_nothing() -> None:
    for discount in (Decimal(100), Decimal("50.01")):
        with pytest.raises(BadCart, match="nothing to pay"):
            price_cart([line(1)], discount)
    assert price_cart([line(10_000)], Decimal("99.99")).amount == 1


@pytest.mark.parametrize(
    ("lines", "index"),
    [
        ([], None),
        ([line()] * (MAX_LINES + 1), None),
        ([line(), line(1, 499)], 1),
        ([line(MAX_TIYN, 1001)], 0),
        ([line(MAX_TIYN, 1000), line(1)], None),
    ],
    ids=["empty", "too long", "less than a tiyn", "more than money", "more than money together"],
)
def test_a_cart_out_of_bounds_names_its_line(lines: list[CartLine], index: int | None) -> None:
    with pytest.raises(BadCart) as refused:
        price_cart(lines)
    assert refused.value.line == index


@pytest.mark.parametrize("text", ["0", "-5", "100.01", "0.001", "33.333", "NaN", "Infinity", "1e99999", "1e-99999"])
def test_what_is_no_discount_is_refused(text: str) -> None:
    with pytest.raises(BadDiscount):
        parse_discount(Decimal(text))


@pytest.mark.parametrize(
    ("text", "discount"), [("10", "10.00"), ("0.01", "0.01"), ("1e2", "100.00"), ("33.330", "33.33")]
)
def test_discounts_are_exact(text: str, discount: str) -> None:
    assert str(parse_discount(Decimal(text))) == discount


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        (AskedItem(position=1), (700, 2000)),
        (AskedItem(position=1, amount=700), (700, None)),
        (AskedItem(position=1, count_milli=1000), (334, 1000)),
        (AskedItem(position=1, count_milli=2000), (700, 2000)),
        (AskedItem(position=1, amount=701), None),
        (AskedItem(position=1, count_milli=2001), None),
        (AskedItem(position=1, amount=0), None),
    ],
    ids=str,
)
def test_a_part_of_a_line_that_is_partly_refunded(asked: AskedItem, made: tuple[int, int | None] | None) -> None:
    line_ = LineStanding(position=1, count_milli=3000, amount=1000, refunded=300, refunded_milli=1000)
    if made is None:
        with pytest.raises(ItemRefused) as refused:
            refund_of(line_, asked)
        assert (refused.value.position, refused.value.left) == (1, 700)
    else:
        item = refund_of(line_, asked)
        assert (item.amount, item.count_milli) == made


def test_the_rest_of_a_line_whose_count_is_back_already_is_money_only() -> None:
    line_ = LineStanding(position=1, count_milli=1000, amount=1000, refunded=999, refunded_milli=1000)
    assert refund_of(line_, AskedItem(position=1)) == RefundItem(position=1, amount=1)
