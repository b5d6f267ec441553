import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.phone import BadPhone, mask_phone, normalize_phone

MOBILE = st.builds(
    lambda prefix, rest: f"7{prefix}{rest:07d}",
    st.sampled_from(["700", "701", "702", "705", "707", "708", "747", "771", "775", "776", "777", "778"]),
    st.integers(0, 9_999_999),
)
SEPARATORS = st.sampled_from(["", " ", "-", "\u00a0", " - "])


@given(MOBILE, st.sampled_from(["8", "7", "+7", ""]), SEPARATORS, SEPARATORS)
def test_every_usual_spelling_means_the_same_number(number: str, start: str, first: str, second: str) -> None:
    code, a, b, c = number[1:4], number[4:7], number[7:9], number[9:]
    spelled = [
        f"{start}{code}{a}{b}{c}",
        f"{start}{first}({code}){second}{a}{first}{b}{first}{c}",
        f"  {start} {code}.{a}.{b}.{c} ",
    ]
    assert {normalize_phone(text) for text in spelled} == {number}


@given(MOBILE)
def test_a_normal_number_stays_as_it_is(number: str) -> None:
    assert normalize_phone(normalize_phone(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7701123456",
        "770112345678",
        "97011234567",
        "+1 212 555 0100",
        "+7 916 123 45 67",  # Russia
        "+7 727 258 15 58",  # a landline in Almaty
        "+996 700 123 456",
        "７７０１１２３４５６７",  # full-width digits
        "٧٧٠١١٢٣٤٥٦٧",
        "7701123456a",
        "7701\n1234567",
        "tel:77011234567",
        "7" * 33,
        "🙂",
    ],
)
def test_what_is_no_kazakh_mobile_is_refused(text: str) -> None:
    with pytest.raises(BadPhone):
        normalize_phone(text)


@given(st.text(max_size=40))
def test_any_text_is_either_eleven_digits_or_a_refusal_that_does_not_repeat_it(text: str) -> None:
    refusal, number = "", ""
    try:
        number = normalize_phone(text)
    except BadPhone as refused:
        refusal = str(refused)
    if refusal:
        # Its digits: a word like " and " may well stand in a refusal, as its example does.
        digits = "".join(one for one in text if one.isdigit())
        assert len(digits) < 5 or digits not in refusal.replace("77011234567", "")
    else:
        assert len(number) == 11
        assert number.isdigit()
        assert number.startswith("7")


@given(MOBILE)
def test_a_masked_number_hides_five_digits(number: str) -> None:
    masked = mask_phone(number)
    assert masked == f"{number[:4]}*****{number[-2:]}"
