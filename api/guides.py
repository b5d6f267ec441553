"""The guides of docs/ as pages that need no internet, at `/api/docs/guides`; an error's `doc` leads to one of them."""

import posixpath
import re
from html import escape
from pathlib import Path

from litestar import MediaType, Response, get
from litestar.exceptions import NotFoundException
from markdown_it import MarkdownIt

PATH = "/api/docs/guides"
FOLDER = Path(__file__).parent.parent / "docs"
CACHED = {"Cache-Control": "public, max-age=300"}

_FRAME = """<!doctype html><html lang="{language}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Tölem: {title}</title>
<style>:root {{ color-scheme: light dark }}
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ background: #8881; padding: 1rem; overflow: auto }} h2:target {{ background: #fff3c4; color: #1c2430 }}
table {{ border-collapse: collapse; display: block; overflow: auto }}
th, td {{ border: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top }}
blockquote {{ border-left: 3px solid #8886; margin: 0; padding-left: 1rem }}</style></head>
<body>{body}</body></html>"""
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_LANGUAGES = {"ru": "Русский", "kk": "Қазақша", "en": "English"}
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"<h([1-6])>(.*?)</h\1>")
_LINK = re.compile(r'<a href="([^"]*)">(.*?)</a>', re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_NAMES = "Guides · Документация · Құжаттама"
_WAYS = f'<nav><a href="{PATH}">{_NAMES}</a> · <a href="{posixpath.dirname(PATH)}">API</a></nav>'


def guides() -> dict[str, Path]:
    """Every guide by its path below docs/; nothing else is served, whatever a request asks for."""
    return {path.relative_to(FOLDER).as_posix(): path for path in sorted(FOLDER.rglob("*.md"))}


def page(name: str) -> str:
    """The guide as HTML, with GitHub's anchors. Links lead to other guides; what is not served stays as text."""
    known = guides()
    body = _MARKDOWN.render(_COMMENT.sub("", known[name].read_text(encoding="utf-8")))
    body = _HEADING.sub(_with_anchor, body)
    body = _LINK.sub(lambda found: _linked(name, found[1], found[2], known), body)
    return _framed(_title(known[name]), _language(name), _WAYS + body)


def contents() -> str:
    """The list of guides by language, Russian first as most readers here; in each, getting started comes first."""
    known = guides()
    parts = [_WAYS, f"<h1>{_NAMES}</h1>"]
    for language, title in _LANGUAGES.items():
        names = sorted((name for name in known if _language(name) == language), key=_place)
        lines = [f'<li><a href="{PATH}/{name}">{escape(_title(known[name]))}</a></li>' for name in names]
        parts.append(f'<h2 lang="{language}">{title}</h2><ul lang="{language}">{"".join(lines)}</ul>')
    return _framed("guides", "en", "".join(parts))


def _place(name: str) -> tuple[bool, int, str]:
    folder, _, file = name.rpartition("/")
    return file != "getting-started.md", len(folder), name


def _framed(title: str, language: str, body: str) -> str:
    return _FRAME.format(title=escape(title), language=language, body=body)


def _language(name: str) -> str:
    return name[:2] if name.startswith(("ru/", "kk/")) else "en"


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _with_anchor(found: re.Match[str]) -> str:
    level, inner = found[1], found[2]
    anchor = re.sub(r"[^\w\- ]", "", _TAG.sub("", inner).lower()).replace(" ", "-")
    return f'<h{level} id="{anchor}">{inner}</h{level}>'


def _linked(name: str, target: str, inner: str, known: dict[str, Path]) -> str:
    if target.startswith(("http://", "https://", "#")):
        return f'<a href="{target}">{inner}</a>'
    path, _, anchor = target.partition("#")
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
    if wanted not in known:
        return inner
    return f'<a href="{PATH}/{wanted}{"#" + anchor if anchor else ""}">{inner}</a>'


@get(PATH, include_in_schema=False, sync_to_thread=True)
def guide_list() -> Response[str]:
    """GET /api/docs/guides."""
    return Response(contents(), media_type=MediaType.HTML, headers=CACHED)


@get(PATH + "/{name:path}", include_in_schema=False, sync_to_thread=True)
def guide_page(name: str) -> Response[str]:
    """GET /api/docs/guides/ru/errors.md, and so on."""
    wanted = name.removeprefix("/")
    if wanted not in guides():
        raise NotFoundException
    return Response(page(wanted), media_type=MediaType.HTML, headers=CACHED)
