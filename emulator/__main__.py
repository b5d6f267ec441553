"""python -m emulator --bank-port 8843 --admin-port 8800 --state FILE --certs DIR · python -m emulator certs DIR"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from emulator import certs, server


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["certs"]:
        return _make_certs(arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m emulator", description="A stateful Kaspi bank for dev and tests")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--bank-port", type=int, default=8843)
    parser.add_argument("--admin-port", type=int, default=8800)
    parser.add_argument("--state", default=":memory:", help="SQLite file, or :memory:")
    parser.add_argument("--certs", type=Path, required=True, help="folder of ca.pem, server.pem, client.pem …")
    parser.add_argument("--time-scale", type=float, help="multiplies the lives of purchases; default: as before, or 1")
    options = parser.parse_args(arguments)
    if options.time_scale is not None and not options.time_scale > 0:
        parser.error("--time-scale must be above 0")
    # Until the servers listen there is nothing to stop: a signal during the start simply ends it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        asyncio.run(
            server.serve(
                host=options.host,
                bank_port=options.bank_port,
                admin_port=options.admin_port,
                state=options.state,
                certificates=options.certs,
                time_scale=options.time_scale,
            )
        )
    except OSError as error:
        sys.stderr.write(f"emulator: {error}\n")
        return 1
    return 0


def _make_certs(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m emulator certs", description="Makes what is missing in DIR")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--partner", help="also a client certificate with this common name: NAME.pem, .key, .pfx")
    options = parser.parse_args(arguments)
    certs.ensure(options.directory)
    if options.partner:
        certs.ensure_partner(options.directory, options.partner, options.partner)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
