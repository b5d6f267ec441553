"""`tolem`: what operators and developers do from a terminal."""

import sys

import rich_click as click
from click.exceptions import Exit

from commands.attention import attention
from commands.audit import audit
from commands.connections import connections
from commands.events import events
from commands.invoices import invoices
from commands.listen import listen
from commands.merchants import keys, merchants
from commands.reconcile import reconcile
from commands.subscriptions import subscriptions
from commands.system import dev, openapi, settings, temporal
from commands.trigger import trigger
from runtime.leave import leave
from runtime.logging import configure

click.rich_click.TEXT_MARKUP = "markdown"


@click.group(help="**Tölem**: payments by Kaspi Pay. Settings come from `TOLEM_*` variables; see `tolem settings`.")
def tolem() -> None:
    """The root of every command."""


for command in (dev, merchants, keys, connections, invoices, subscriptions, attention, audit, reconcile):
    tolem.add_command(command)
for command in (settings, temporal, openapi):
    tolem.add_command(command)
# For who integrates: these speak to the API with a key, and need nothing else.
for command in (listen, trigger, events):
    tolem.add_command(command)


def main() -> None:
    """Entry point; leaves by `leave`, because the SDK's threads can abort a plain exit."""
    configure("warning", "console", "tolem")
    try:
        tolem.main(standalone_mode=False)
    except Exit as done:
        leave(done.exit_code)
    except click.ClickException as problem:
        problem.show(sys.stderr)
        leave(problem.exit_code)
    except (click.Abort, KeyboardInterrupt):
        leave(130)
    leave(0)


if __name__ == "__main__":
    main()
