"""Kazakhstan mobile numbers: many spellings in, ``77011234567`` inside."""

import phonenumbers
from phonenumbers import PhoneNumberType

_MOBILE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}


class BadPhone(ValueError):
    """The text of the exception is fit to show to a merchant; it never contains the number."""


def normalize_phone(text: str) -> str:
    """Accepts ``8…``, ``7…``, ``+7…`` and ten digits, with the usual punctuation; gives eleven digits from 7."""
    if len(text) > 32:
        raise BadPhone("must be a phone number such as 77011234567")
    digits = "".join(ch for ch in text if ch.isascii() and ch.isdigit())
    if any(not ((ch.isascii() and ch.isdigit()) or ch in " +-().\u00a0") for ch in text):
        raise BadPhone("must contain only digits, spaces and + - ( )")
    if len(digits) == 11 and digits[0] == "8":
        digits = "7" + digits[1:]
    elif len(digits) == 10:
        digits = "7" + digits
    if len(digits) != 11 or digits[0] != "7":
        raise BadPhone("must have 11 digits such as 77011234567")
    number = phonenumbers.parse("+" + digits)
    if not phonenumbers.is_valid_number_for_region(number, "KZ") or phonenumbers.number_type(number) not in _MOBILE:
        raise BadPhone("must be a mobile number of Kazakhstan")
    return digits


def mask_phone(phone: str) -> str:
    """``77011234567`` to ``7701*****67``: enough for a support call, too little to dial."""
    return f"{phone[:4]}{'*' * max(0, len(phone) - 6)}{phone[-2:]}"
