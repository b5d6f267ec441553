"""The Russian and Kazakh documents say what the English ones do, as far as a program can tell; all are read offline."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from api.error_pages import error_pages
from api.guides import PATH, guide_list, guide_page, guides
from contracts.v1 import STATUS
from dev.docs_check import Block, blocks
from dev.migrations import ROOT
from domain.errors import RETRYABLE, Code
from domain.invoice import Attention

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

DOCS = ROOT / "docs"
LANGUAGES = ("ru", "kk")
REPEAT = {"ru": ("повторить позже", "не повторять"), "kk": ("кейін қайталаңыз", "қайталамаңыз")}
# Letters that only this language of the two has: a page that was copied in the wrong folder has none or too many.
KAZAKH = "әғқңөұүһіӘҒҚҢӨҰҮҺІ"


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sections(name: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text_of(name), flags=re.MULTILINE)[1:]
    assert len(set(parts[::2])) == len(parts[::2]), f"{name} has a section twice"
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", Code)
def test_every_error_code_has_its_section_in_every_language(language: str, code: Code) -> None:
    later, never = REPEAT[language]
    section = sections(f"docs/{language}/errors.md")[code.value].strip()
    first, _, rest = section.partition("\n\n")
    assert first == f"**HTTP {STATUS[code]}** · {later if code in RETRYABLE else never}"
    title = re.match(r"\*\*[^*]{10,}\*\* .{10,}", rest)
    assert title is not None, rest
    assert re.search("[а-я]", rest)


@pytest.mark.parametrize("language", LANGUAGES)
def test_getting_started_has_the_same_shell_blocks_in_every_language(language: str) -> None:
    # The English page is run (test_docs_check); what equals it runs too.
    english = blocks(text_of("docs/getting-started.md"))
    assert len(english) >= 7
    assert blocks(text_of(f"docs/{language}/getting-started.md")) == english


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_readme_has_shell_blocks_of_the_english_one_and_the_same_table(language: str) -> None:
    english, translated = text_of("README.md"), text_of(f"README.{language}.md")
    codes = [block.code for block in blocks(english)]
    assert [block.code for block in blocks(translated)] == codes[:2] == ["make up\n", "make demo\n"]

    def shape(text: str) -> list[int]:
        """The cells of each row of the table against the alternatives."""
        [table] = [part for part in text.split("\n\n") if "| ApiPay.kz |" in part]
        return [row.count("|") for row in table.splitlines()]

    assert shape(translated) == shape(english)
    assert len(shape(english)) > 10


def test_each_page_is_written_in_its_language() -> None:
    for path in [*(DOCS / "ru").glob("*.md"), ROOT / "README.ru.md"]:
        russian = _letters(path)
        assert len(re.findall("[а-яё]", russian)) > len(re.findall("[a-z]", russian)) / 2, path
        assert sum(russian.count(letter) for letter in KAZAKH) < 20, path
    for path in [*(DOCS / "kk").glob("*.md"), ROOT / "README.kk.md"]:
        kazakh = _letters(path)
        assert sum(kazakh.count(letter) for letter in KAZAKH) > len(kazakh) / 30, path


def _letters(path: Path) -> str:
    """Without code and links."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)


def test_every_case_for_a_human_is_told_in_russian_too() -> None:
    for attention in Attention:
        assert f"| `{attention}` |" in text_of("docs/ru/operations.md")


def test_the_pages_promises_are_read_with_their_blocks() -> None:
    promises = "<!-- expect: x -->\n<!-- expect: y z -->\n"
    page = f"a\n```sh\none\ntwo\n```\n\n{promises}\n```json\n{{}}\n```\n\n```sh\nthree\n```\nb\n"
    assert blocks(page) == [Block("one\ntwo\n", ["x", "y z"]), Block("three\n", [])]


class Page(HTMLParser):
    """What a page leads to, what it loads, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        elif "src" in given or tag in {"link", "script", "img", "iframe"}:
            self.loads.append(str(given))


async def test_the_instance_serves_every_guide_without_the_internet_and_no_link_between_them_is_dead() -> None:
    pages: dict[str, Page] = {}
    async with AsyncTestClient(Litestar([error_pages, guide_list, guide_page])) as client:
        for path in [PATH, "/api/docs/errors", *(f"{PATH}/{name}" for name in guides())]:
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), path
            pages[path] = Page()
            pages[path].feed(answer.text)
            assert "<!--" not in answer.text, path
            assert "expect:" not in answer.text, path
        for wrong in ("../domain/errors.py", "%2e%2e/README.md", "openapi/v1.json", "ru", "none.md", "errors.md%00"):
            assert (await client.get(f"{PATH}/{wrong}")).status_code == 404, wrong
    assert {f"{PATH}/ru/errors.md", f"{PATH}/kk/getting-started.md"} <= set(pages[PATH].links)
    for path, page in pages.items():
        assert page.loads == [], path
        assert {PATH, "/api/docs"} <= set(page.links), path
        for link in page.links:
            if not link.startswith("http") and link != "/api/docs":
                target, _, anchor = link.partition("#")
                assert (target or path) in pages, (path, link)
                assert not anchor or unquote(anchor) in pages[target or path].anchors, (path, link)
    assert {code.value for code in Code} <= pages["/api/docs/errors"].anchors
