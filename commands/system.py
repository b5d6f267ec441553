"""`tolem dev`, `tolem settings`, `tolem temporal`, `tolem openapi`."""

from pathlib import Path

import msgspec
import rich_click as click

from commands.shared import console, run, table
from runtime import settings as conf
from runtime.temporal import connect, register_search_attributes

OPENAPI_FILE = Path(__file__).parent.parent / "docs" / "openapi" / "v1.json"


@click.command()
def dev() -> None:
    """Run the whole system on this machine (what `make up` does)."""
    from dev import stack  # noqa: PLC0415 -- production has no dev dependencies

    stack.main()


@click.command()
def settings() -> None:
    """List every setting with its default."""
    rows = table("setting", "default", "what it is")
    for row in conf.describe():
        rows.add_row(row.name, row.default, row.help)
    console.print(rows)


@click.group()
def temporal() -> None:
    """The engine's own set-up."""


@temporal.command("register")
def temporal_register() -> None:
    """Register our search attributes in the namespace; harmless to repeat."""

    async def work() -> None:
        settings_ = conf.load(conf.Temporal, conf.Keys)
        added = await register_search_attributes(await connect(settings_[conf.Temporal], settings_[conf.Keys].payload))
        console.print(f"added: {', '.join(added) or 'nothing, all are there'}")

    run(work())


@click.group()
def openapi() -> None:
    """The committed description of the API."""


def _openapi() -> bytes:
    from api.app import create_app  # noqa: PLC0415 -- only these two commands need the web framework

    schema = create_app("http://127.0.0.1:8000").openapi_schema.to_schema()
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"


@openapi.command("write")
def openapi_write() -> None:
    """Write `docs/openapi/v1.json` from the code."""
    OPENAPI_FILE.parent.mkdir(parents=True, exist_ok=True)
    OPENAPI_FILE.write_bytes(_openapi())


@openapi.command("check")
def openapi_check() -> None:
    """Fail when `docs/openapi/v1.json` is not what the code makes."""
    if not OPENAPI_FILE.exists() or OPENAPI_FILE.read_bytes() != _openapi():
        raise click.ClickException(f"{OPENAPI_FILE.name} differs from the code: run `tolem openapi write`.")
