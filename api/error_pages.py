"""What an error's `doc` leads to: docs/errors.md as a page, one anchor for each code."""

from litestar import MediaType, Response, get

from api import guides

PATH = "/api/docs/errors"


def page() -> str:
    """The whole list as HTML."""
    return guides.page("errors.md")


@get(PATH, include_in_schema=False, sync_to_thread=True)
def error_pages() -> Response[str]:
    """GET /api/docs/errors."""
    return Response(page(), media_type=MediaType.HTML, headers=guides.CACHED)
