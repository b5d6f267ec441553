"""A Russian guide has the parts of its English one: headings, code, tables."""

import json
import re
from pathlib import Path

import pytest

from api.guides import PATH, guides
from dev.migrations import ROOT

DOCS = ROOT / "docs"
# What stays English: for who changes or measures Tölem, and lists made from the code.
ENGLISH_ONLY = {"architecture.md", "configuration.md", "performance.md", "torture.md"}
RUSSIAN = sorted(path.name for path in (DOCS / "ru").glob("*.md"))
# The texts in code that are somebody's own words, and so are Russian on a Russian page.
OWN_WORDS = {
    "Order 1042": "Заказ 1042",
    "Table 7": "Стол 7",
    "Out of stock": "Нет в наличии",
    "My shop": "Мой магазин",
    "Tea, 250 g": "Чай, 250 г",
    "Apples": "Яблоки",
    "Returned": "Возврат товара",
    "goods were sent": "товар отдан",
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"^<!--.*?-->$", re.MULTILINE | re.DOTALL)
REMARK = re.compile(r" +# .*$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
WORD = re.compile(r"`([^`]+)`")
# Its sections are shorter than the English ones; test_translations has their rules.
BRIEF = {"errors.md"}


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


@pytest.mark.parametrize("name", RUSSIAN)
def test_a_russian_guide_has_the_same_headings(name: str) -> None:
    english, russian = (re.findall(r"^(#+) ", prose(page), re.MULTILINE) for page in both(name))
    assert russian == english


@pytest.mark.parametrize("name", RUSSIAN)
def test_a_russian_guide_has_the_same_code(name: str) -> None:
    english, russian = (FENCE.findall(text_of(page)) for page in both(name))

    def neutral(language: str, code: str) -> tuple[str, str]:
        """In one language; getting started leaves somebody's words in English, to be the same byte by byte."""
        for own, words in OWN_WORDS.items():
            code = code.replace(own, words)
        return language, REMARK.sub("", code) if language == "sh" else code

    assert [neutral(*block) for block in russian] == [neutral(*block) for block in english]


@pytest.mark.parametrize("name", RUSSIAN)
def test_a_russian_guide_has_the_same_rows_in_its_tables(name: str) -> None:
    english, russian = (
        [line.strip().count("|") for line in prose(page).splitlines() if line.strip().startswith("|")]
        for page in both(name)
    )
    assert russian == english


@pytest.mark.parametrize("name", sorted(set(RUSSIAN) - BRIEF))
def test_a_russian_guide_names_every_field_word_and_request_that_the_english_one_names(name: str) -> None:
    english, russian = ({" ".join(word.split()) for word in WORD.findall(prose(page))} for page in both(name))
    assert english - russian == set()


@pytest.mark.parametrize("name", RUSSIAN)
def test_a_russian_guide_leads_to_an_english_one_only_where_there_is_no_other(name: str) -> None:
    page = DOCS / "ru" / name
    for target in LINK.findall(prose(page)):
        path = target.partition("#")[0]
        if path.startswith("../") and "/" not in path.removeprefix("../"):
            other = path.removeprefix("../")
            assert other == name or not (DOCS / "ru" / other).exists(), target


def test_the_pages_of_the_api_lead_to_guides_that_are_served() -> None:
    served = {"/api/docs", "/api/docs/apipay", PATH, *(f"{PATH}/{name}" for name in guides())}
    for contract, wanted in (("v1", f"{PATH}/ru/getting-started.md"), ("apipay", f"{PATH}/ru/apipay.md")):
        described = json.loads(text_of(DOCS / "openapi" / f"{contract}.json"))
        links = set(LINK.findall(described["info"]["description"]))
        assert wanted in links
        assert links <= served
        assert described["externalDocs"]["url"] == PATH
