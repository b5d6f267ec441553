"""A Russian guide has the parts of its English one: headings, code, tables, links to the same places."""

import json
import re
from pathlib import Path

import pytest

from api.guides import PATH, guides
from dev.migrations import ROOT

DOCS = ROOT / "docs"
# What stays English: for who changes or measures Tölem, and lists made from the code.
ENGLISH_ONLY = {"architecture.md", "configuration.md", "performance.md", "torture.md"}
# Told in brief, with links to the whole.
SHORTER = {"operations.md"}
RUSSIAN = sorted(path.name for path in (DOCS / "ru").glob("*.md"))
WHOLE = [name for name in RUSSIAN if name not in SHORTER]
# The texts in code that are somebody's own words, and so are Russian on a Russian page.
OWN_WORDS = {
    "Order 1042": "Заказ 1042",
    "Table 7": "Стол 7",
    "Out of stock": "Нет в наличии",
    "My shop": "Мой магазин",
    "Tea, 250 g": "Чай, 250 г",
    "Apples": "Яблоки",
    "Returned": "Возврат товара",
    "# the statement's own time is the period": "# срок — время самой выписки",
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"^<!--.*?-->$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return COMMENT.sub("", FENCE.sub("", text_of(page)))


def both(name: str) -> tuple[Path, Path]:
    return DOCS / name, DOCS / "ru" / name


def test_every_guide_of_merchants_and_operators_is_there_in_russian() -> None:
    english = {path.name for path in DOCS.glob("*.md")}
    assert english - set(RUSSIAN) == ENGLISH_ONLY
    assert set(RUSSIAN) <= english


@pytest.mark.parametrize("name", RUSSIAN)
def test_the_two_languages_lead_to_each_other_below_their_title(name: str) -> None:
    english, russian = both(name)
    assert f"[Русский](ru/{name})" in text_of(english).splitlines()[2]
    assert f"[English](../{name})" in text_of(russian).splitlines()[2]


@pytest.mark.parametrize("name", WHOLE)
def test_a_russian_guide_has_the_same_headings(name: str) -> None:
    english, russian = ([level for level in re.findall(r"^(#+) ", prose(page), re.MULTILINE)] for page in both(name))
    assert russian == english


@pytest.mark.parametrize("name", WHOLE)
def test_a_russian_guide_has_the_same_code(name: str) -> None:
    english, russian = (FENCE.findall(text_of(page)) for page in both(name))

    def translated(code: str) -> str:
        for own, words in OWN_WORDS.items():
            code = code.replace(own, words)
        return code

    assert russian == [(language, translated(code)) for language, code in english]


@pytest.mark.parametrize("name", WHOLE)
def test_a_russian_guide_has_the_same_rows_in_its_tables(name: str) -> None:
    english, russian = (
        [line.strip().count("|") for line in prose(page).splitlines() if line.strip().startswith("|")]
        for page in both(name)
    )
    assert russian == english


@pytest.mark.parametrize("name", sorted(SHORTER))
def test_a_shorter_guide_says_where_the_whole_one_is(name: str) -> None:
    assert f"полностью — в [английской версии](../{name})" in prose(DOCS / "ru" / name)


@pytest.mark.parametrize("name", RUSSIAN)
def test_a_russian_guide_leads_to_an_english_one_only_where_there_is_no_other(name: str) -> None:
    page = DOCS / "ru" / name
    for target in LINK.findall(prose(page)):
        path, _, anchor = target.partition("#")
        if path.startswith("../") and "/" not in path.removeprefix("../"):
            other = path.removeprefix("../")
            brief = other in SHORTER and bool(anchor)
            assert other == name or brief or not (DOCS / "ru" / other).exists(), target


def test_the_pages_of_the_api_lead_to_guides_that_are_served() -> None:
    served = {"/api/docs", "/api/docs/apipay", PATH, *(f"{PATH}/{name}" for name in guides())}
    for contract, wanted in (("v1", f"{PATH}/ru/getting-started.md"), ("apipay", f"{PATH}/ru/apipay.md")):
        described = json.loads(text_of(DOCS / "openapi" / f"{contract}.json"))
        links = set(LINK.findall(described["info"]["description"]))
        assert wanted in links
        assert links <= served
        assert described["externalDocs"]["url"] == PATH
