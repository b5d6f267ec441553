"""The catalog: what a merchant sells, in which unit, at which price."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

MAX_BATCH = 50
# One thousandth of a unit is the finest count there is: a gram of a kilogram.
MILLI = 1000
MAX_COUNT_MILLI = 1_000_000 * MILLI


class BadCount(ValueError):
    """The text of the exception is fit to show to a merchant."""


class Unit(StrEnum):
    """Stable codes of units of measure; a code is never taken away or given another meaning."""

    PIECE = "piece"
    PACK = "pack"
    BOX = "box"
    SET = "set"
    PAIR = "pair"
    KILOGRAM = "kg"
    GRAM = "g"
    TONNE = "t"
    LITRE = "l"
    MILLILITRE = "ml"
    METRE = "m"
    CENTIMETRE = "cm"
    SQUARE_METRE = "m2"
    CUBIC_METRE = "m3"
    KILOWATT_HOUR = "kwh"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"
    SERVICE = "service"
    PERSON = "person"


class UnitInfo(msgspec.Struct, frozen=True):
    """What a unit is called, and how many decimals a count of it may have."""

    decimals: int
    ru: str
    kk: str
    en: str
    short_ru: str
    short_kk: str


UNITS: dict[Unit, UnitInfo] = {
    Unit.PIECE: UnitInfo(0, "штука", "дана", "piece", "шт", "дана"),
    Unit.PACK: UnitInfo(0, "упаковка", "қаптама", "pack", "уп", "қапт"),
    Unit.BOX: UnitInfo(0, "коробка", "қорап", "box", "кор", "қорап"),
    Unit.SET: UnitInfo(0, "комплект", "жиынтық", "set", "компл", "жиын"),
    Unit.PAIR: UnitInfo(0, "пара", "жұп", "pair", "пара", "жұп"),
    Unit.KILOGRAM: UnitInfo(3, "килограмм", "килограмм", "kilogram", "кг", "кг"),
    Unit.GRAM: UnitInfo(3, "грамм", "грамм", "gram", "г", "г"),
    Unit.TONNE: UnitInfo(3, "тонна", "тонна", "tonne", "т", "т"),
    Unit.LITRE: UnitInfo(3, "литр", "литр", "litre", "л", "л"),
    Unit.MILLILITRE: UnitInfo(3, "миллилитр", "миллилитр", "millilitre", "мл", "мл"),
    Unit.METRE: UnitInfo(3, "метр", "метр", "metre", "м", "м"),
    Unit.CENTIMETRE: UnitInfo(3, "сантиметр", "сантиметр", "centimetre", "см", "см"),
    Unit.SQUARE_METRE: UnitInfo(3, "квадратный метр", "шаршы метр", "square metre", "м²", "м²"),
    Unit.CUBIC_METRE: UnitInfo(3, "кубический метр", "текше метр", "cubic metre", "м³", "м³"),
    Unit.KILOWATT_HOUR: UnitInfo(3, "киловатт-час", "киловатт-сағат", "kilowatt hour", "кВт·ч", "кВт·сағ"),
    Unit.MINUTE: UnitInfo(3, "минута", "минут", "minute", "мин", "мин"),
    Unit.HOUR: UnitInfo(3, "час", "сағат", "hour", "ч", "сағ"),
    Unit.DAY: UnitInfo(3, "сутки", "тәулік", "day", "сут", "тәул"),
    Unit.MONTH: UnitInfo(3, "месяц", "ай", "month", "мес", "ай"),
    Unit.YEAR: UnitInfo(3, "год", "жыл", "year", "год", "жыл"),
    Unit.SERVICE: UnitInfo(0, "услуга", "қызмет", "service", "усл", "қызм"),
    Unit.PERSON: UnitInfo(0, "человек", "адам", "person", "чел", "адам"),
}


class CatalogItem(msgspec.Struct, frozen=True, kw_only=True):
    """A thing or service for sale. `price` in tiyn for one `unit`, times aware UTC; an archived one is sold no more."""

    id: str
    merchant_id: str
    is_sandbox: bool
    name: str
    price: int
    unit: Unit
    created_at: datetime
    updated_at: datetime
    barcode: str | None = None
    sku: str | None = None
    description: str | None = None
    archived_at: datetime | None = None


def parse_count(value: Decimal) -> int:
    """Thousandths; `BadCount` for more than three decimals or outside 0.001 .. 1 000 000."""
    if not value.is_finite():
        raise BadCount("must be a number")
    # Bounds come first: scaling an exponent like 1e999999 would build a huge integer.
    if not Decimal("0.001") <= value <= MAX_COUNT_MILLI // MILLI:
        raise BadCount("must be between 0.001 and 1000000")
    exact = value.quantize(Decimal("0.001"))
    if exact != value:
        raise BadCount("must have at most three decimals")
    return int(exact.scaleb(3))


def check_count(count_milli: int, unit: Unit) -> None:
    """`BadCount` for more decimals than the unit has: there is no half of a piece."""
    decimals = UNITS[unit].decimals
    if count_milli % 10 ** (3 - decimals):
        raise BadCount(f"must be a whole number of {unit}" if decimals == 0 else f"must have {decimals} decimals")


def format_count(count_milli: int) -> str:
    """``1500`` thousandths to ``"1.5"``: as short as it is exact."""
    whole, rest = divmod(count_milli, MILLI)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
