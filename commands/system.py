"""`tolem dev`, `tolem settings`, `tolem temporal`, `tolem openapi`."""

from pathlib import Path

import msgspec
import rich_click as click

from commands.console import console, table
from commands.shared import run
from runtime import settings as conf
from runtime.temporal import connect, register_search_attributes

OPENAPI_FOLDER = Path(__file__).parent.parent / "docs" / "openapi"
PUBLIC_URL = "http://127.0.0.1:8000"


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
    """The committed descriptions of the API, one for each contract."""


def _openapi() -> dict[str, bytes]:
    # Only these two commands need the web framework.
    from api.apipay.docs import description  # noqa: PLC0415
    from api.app import create_app  # noqa: PLC0415

    made = {"v1.json": create_app(PUBLIC_URL).openapi_schema, "apipay.json": description(PUBLIC_URL)}
    return {
        name: msgspec.json.format(msgspec.json.encode(one.to_schema(), order="sorted"), indent=2) + b"\n"
        for name, one in made.items()
    }


@openapi.command("write")
def openapi_write() -> None:
    """Write `docs/openapi/*.json` from the code."""
    OPENAPI_FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in _openapi().items():
        (OPENAPI_FOLDER / name).write_bytes(content)


@openapi.command("check")
def openapi_check() -> None:
    """Fail when `docs/openapi/*.json` are not what the code makes."""
    for name, content in _openapi().items():
        file = OPENAPI_FOLDER / name
        if not file.exists() or file.read_bytes() != content:
            raise click.ClickException(f"{name} differs from the code: run `tolem openapi write`.")
