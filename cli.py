"""`tolem`: what operators and developers do from a terminal."""

import sys
from importlib import import_module

import rich_click as click
from click.exceptions import Exit

from runtime.leave import leave
from runtime.logging import configure

click.rich_click.TEXT_MARKUP = "markdown"

# In the order of the help. Each is the attribute of its name.
COMMANDS = {
    "dev": "commands.system",
    "merchants": "commands.merchants",
    "keys": "commands.merchants",
    "connections": "commands.connections",
    "invoices": "commands.invoices",
    "subscriptions": "commands.subscriptions",
    "attention": "commands.attention",
    "audit": "commands.audit",
    "reconcile": "commands.reconcile",
    "settings": "commands.system",
    "temporal": "commands.system",
    "openapi": "commands.system",
    # For who integrates: these speak to the API with a key, and need nothing else.
    "listen": "commands.listen",
    "trigger": "commands.trigger",
    "events": "commands.events",
}


class OnDemand(click.RichGroup):
    """Imports a command when it is asked for: most need neither the database's parts nor the engine's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(
    cls=OnDemand, help="**Tölem**: payments by Kaspi Pay. Settings come from `TOLEM_*` variables; see `tolem settings`."
)
def tolem() -> None:
    """The root of every command."""


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
