"""BIN/IIN: the 12-digit tax number of Kazakhstan with its check digit."""

_FIRST = range(1, 12)
_SECOND = (3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2)


def valid_bin(text: str) -> bool:
    """True for twelve digits whose last one is the check digit of the others (two-pass weights modulo 11)."""
    if len(text) != 12 or not (text.isascii() and text.isdigit()):
        return False
    digits = [int(ch) for ch in text]
    control = sum(w * d for w, d in zip(_FIRST, digits[:11], strict=True)) % 11
    if control == 10:
        control = sum(w * d for w, d in zip(_SECOND, digits[:11], strict=True)) % 11
    return control == digits[11]
