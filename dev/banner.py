"""What a developer needs once everything runs: addresses, keys and something to try."""

import shlex
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from dev.private_file import write_private
from dev.system import System


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """`.tolem/dev.json`: where the running system is and the demo merchant's keys."""

    api: str
    docs: str
    temporal_ui: str
    emulator: str
    test_key: str
    live_key: str
    demo_receiver_port: int


def addresses_of(system: System) -> Addresses:
    return Addresses(
        api=system.api_url,
        docs=f"{system.api_url}/api/docs",
        temporal_ui=system.temporal_ui_url,
        emulator=system.emulator_url,
        test_key=system.secrets.test_key,
        live_key=system.secrets.live_key,
        demo_receiver_port=system.ports.demo_receiver,
    )


def read_addresses(path: Path) -> Addresses:
    return msgspec.json.decode(path.read_bytes(), type=Addresses)


def write_addresses(system: System) -> None:
    """Writes `.tolem/dev.json`, and `.tolem/env` with the settings for `tolem` commands (`set -a; . .tolem/env`)."""
    write_private(system.layout.addresses, msgspec.json.encode(addresses_of(system)).decode())
    ours = {name: value for name, value in system.operator_environment().items() if name.startswith("TOLEM_")}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in sorted(ours.items())]
    write_private(system.layout.environment, "".join(lines))


def show_banner(system: System, console: Console) -> None:
    """Prints the table and three commands that work as they stand."""
    found = addresses_of(system)
    table = Table(title="Tölem is ready", title_justify="left", show_header=False, title_style="bold")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("API", f"{found.api}/api")
    table.add_row("API docs", found.docs)
    table.add_row("Guides", f"{found.docs}/guides")
    table.add_row("Temporal UI", found.temporal_ui)
    table.add_row("Kaspi phone (emulator)", found.emulator)
    table.add_row("Test key (sandbox)", found.test_key)
    table.add_row("Live key (emulated bank)", found.live_key)
    table.add_row("Settings for `tolem`", f"set -a; . {system.layout.environment}; set +a")
    console.print()
    console.print(table)
    console.print("Try it: make a bill, pay it in the emulator, look at it. Or let `make demo` do all that.\n")
    for command in _commands(found):
        # One line each, whatever the width: they are there to be copied.
        console.print(f"  {command}", soft_wrap=True, markup=False)
    console.print()


def _commands(found: Addresses) -> list[str]:
    key, json = f"-H 'X-API-Key: {found.live_key}'", "-H 'Content-Type: application/json'"
    phone = '{"amount": 10000, "phone_number": "77011234567", "description": "Order 1042"}'
    code = '{"amount": 2500.50, "comment": "Coffee"}'
    return [
        f"curl -s {found.api}/api/v1/invoices {key} {json} -H 'Idempotency-Key: order-1042' -d '{phone}'",
        f"curl -s {found.api}/api/v1/qr {key} {json} -d '{code}'",
        f"curl -s {found.api}/api/v1/invoices {key}",
    ]
