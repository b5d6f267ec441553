"""What an error's `doc` leads to: docs/errors.md as a page, one anchor for each code."""

from pathlib import Path

from litestar import MediaType, Response, get
from markdown_it import MarkdownIt

from domain.errors import Code

PATH = "/api/docs/errors"
SOURCE = Path(__file__).parent.parent / "docs" / "errors.md"
_FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Tölem: errors</title>
<style>body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ background: #f4f5f7; padding: 1rem; overflow: auto }} h2:target {{ background: #fff3c4 }}
blockquote {{ border-left: 3px solid #ccc; margin: 0; padding-left: 1rem; color: #444 }}</style></head>
<body>{body}</body></html>"""


def page() -> str:
    """The whole list as HTML."""
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(SOURCE.read_text(encoding="utf-8"))
    for code in Code:
        html = html.replace(f"<h2>{code.value}</h2>", f'<h2 id="{code.value}">{code.value}</h2>')
    return _FRAME.format(body=html)


@get(PATH, include_in_schema=False, sync_to_thread=True)
def error_pages() -> Response[str]:
    """GET /api/docs/errors."""
    return Response(page(), media_type=MediaType.HTML, headers={"Cache-Control": "public, max-age=300"})
