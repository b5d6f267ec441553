"""`python -m api`: the API as one process under uvicorn."""

import sys

import uvicorn

from api.app import SECTIONS, production_app
from runtime import settings as conf
from runtime.env import SettingsError
from runtime.leave import leave
from runtime.logging import configure

# Longer than any answer takes but the cancel of an ill bank; what is cut is idempotent.
DRAIN_SECONDS = 15


def main() -> None:
    """Serves until SIGTERM, then finishes the requests that run."""
    try:
        settings = conf.load(*SECTIONS)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- before logging is configured
        leave(2)
    configure(settings[conf.Log].level, settings[conf.Log].format, "api")
    api = settings[conf.Api]
    server = uvicorn.Server(
        uvicorn.Config(
            production_app(settings),
            host=api.host,
            port=api.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            timeout_keep_alive=30,
        )
    )
    server.run()
    leave(0 if server.started else 1)


if __name__ == "__main__":
    main()
