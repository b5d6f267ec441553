"""The admin side: the payer's finger, the tester's knobs, the books. Plain HTTP, no authentication."""

import logging
from pathlib import Path

from litestar import Litestar, MediaType, Response, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import Scope

from emulator import admin_faults, admin_organizations, admin_payer
from emulator.world import World


@get("/emulator/health", sync_to_thread=False)
def health() -> dict[str, str]:
    return {"status": "ok"}


@get("/", media_type=MediaType.HTML, sync_to_thread=False)
def phone_page(state: State) -> str:
    """The Kaspi phone emulator, for humans."""
    return str(state.page)


@get("/favicon.ico", sync_to_thread=False)
def no_icon() -> Response[None]:
    return Response(None, status_code=204)


def _report(error: Exception, scope: Scope) -> None:
    """A bug of ours must not hide behind a bare 500."""
    if not isinstance(error, HTTPException):
        logging.getLogger("uvicorn.error").error("admin call failed: %s", scope["path"], exc_info=error)


def make_admin(world: World) -> Litestar:
    return Litestar(
        route_handlers=[
            health,
            phone_page,
            no_icon,
            *admin_payer.HANDLERS,
            *admin_faults.HANDLERS,
            *admin_organizations.HANDLERS,
        ],
        dependencies={"world": Provide(lambda: world, sync_to_thread=False)},
        state=State({"page": Path(__file__).with_name("phone.html").read_text(encoding="utf-8")}),
        after_exception=[_report],
        openapi_config=None,
        logging_config=None,
    )
