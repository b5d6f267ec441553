"""Parameters without a value."""

from typing import Any

from litestar import Request


async def drop_empty(request: Request[Any, Any, Any]) -> None:
    """`?search=&status[]=&date_from=` is what a form sends where nothing was chosen: it chooses nothing.

    To be called before the request's parameters are read. (A guess: ApiPay does not say what it makes of them.)
    """
    given = request.scope["query_string"].split(b"&")
    request.scope["query_string"] = b"&".join(part for part in given if part.partition(b"=")[2])
