"""Parameters without a value."""

from typing import Any

from litestar import Request


async def drop_empty_status(request: Request[Any, Any, Any]) -> None:
    """`?status[]=&page=1` is what a form sends where no status was chosen: it chooses none.

    To be called before the request's parameters are read. (A guess: ApiPay does not say what it makes of it. Other
    parameters need a value: no day is the empty one.)
    """
    given = request.scope["query_string"].split(b"&")
    request.scope["query_string"] = b"&".join(part for part in given if part.partition(b"=")[2] or not _status(part))


def _status(part: bytes) -> bool:
    name = part.partition(b"=")[0].replace(b"%5B", b"[").replace(b"%5D", b"]")
    return name == b"status" or name.startswith(b"status[")
