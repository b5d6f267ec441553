"""The tree of commands, which is imported piece by piece."""

import subprocess
import sys

import pytest
import rich_click as click

from cli import COMMANDS, tolem

LOADED = "import sys; from cli import tolem; tolem([{name!r}, '--help'], standalone_mode=False); print(*sys.modules)"


def test_every_command_is_there_under_its_name() -> None:
    context = click.Context(tolem)
    for name in tolem.list_commands(context):
        command = tolem.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help
    assert tolem.get_command(context, "nothing") is None


@pytest.mark.parametrize("name", ["listen", "trigger", "events"])
def test_a_command_over_the_api_loads_neither_database_nor_engine(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED.format(name=name)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert COMMANDS[name] in loaded
    assert loaded.isdisjoint({"sqlalchemy", "asyncpg", "temporalio"})
