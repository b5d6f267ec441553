"""`python -m api`: the API as one process under uvicorn."""

import signal
import sys

from api.app import SECTIONS, production_app
from api.serving import Server
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
    server = Server(production_app(settings), api.host, api.port, drain_seconds=DRAIN_SECONDS)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again after its graceful stop; it must not kill us on the way to `leave`.
        signal.signal(number, lambda *_: None)
    server.run()
    leave(0 if server.started else 1)


if __name__ == "__main__":
    main()
