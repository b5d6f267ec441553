"""`python -m api`: the API as one process under uvicorn."""

import signal
import sys

import uvicorn

from api.app import SECTIONS, production_app
from api.request_ids import request_ids
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
    app = production_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            # Outside the framework, so that also an answer for no route at all carries its id.
            request_ids(app),
            host=api.host,
            port=api.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            timeout_keep_alive=30,
        )
    )
    # Event streams have no end of their own; they ask, and end before the drain would cut them off.
    app.state.stopping = lambda: server.should_exit
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again after its graceful stop; it must not kill us on the way to `leave`.
        signal.signal(number, lambda *_: None)
    server.run()
    leave(0 if server.started else 1)


if __name__ == "__main__":
    main()
