"""What the commands share that speak to the API with a key: the two options, and how failures are told."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import rich_click as click

from operations.api_client import ApiAway, ApiClient, ApiRefused
from operations.following import StreamReplaced
from operations.trigger_report import CannotTrigger
from runtime import settings as conf
from runtime.env_parsers import origin
from runtime.secrets import Secret, api_key_mode

Command = TypeVar("Command", bound=Callable[..., Any])


def api_options(command: Command) -> Command:
    """`--api` and `--key`, handed on as `api_url` and `api_key`; both can come from the environment."""
    key = click.option("--key", "api_key", metavar="KEY", help="The API key; otherwise `TOLEM_API_KEY`.")
    api = click.option(
        "--api",
        "api_url",
        metavar="URL",
        help="Where the API is; otherwise `TOLEM_API_URL`, otherwise `http://127.0.0.1:8000`.",
    )
    return key(api(command))


def client_of(api_url: str | None, api_key: str | None) -> ApiClient:
    """A client for the options as given. UsageError where they can't be right."""
    try:
        settings = conf.load(conf.Client)[conf.Client]
    except conf.SettingsError as error:
        raise click.UsageError(str(error)) from error
    try:
        url = settings.url if api_url is None else origin(api_url)
    except ValueError as error:
        raise click.UsageError(f"--api: {error}.") from error
    key = settings.key if api_key is None else Secret(api_key)
    if key is None:
        raise click.UsageError("Give a key: --key tk_test_…, or the variable TOLEM_API_KEY.")
    if api_key_mode(key.reveal()) is None:
        raise click.UsageError("This is not an API key of Tölem (tk_test_… or tk_live_…), or it is not whole.")
    return ApiClient(url, key)


def run_over_api(work: Coroutine[Any, Any, None]) -> None:
    """Runs a command; what the API refuses is told with its code, message and every wrong field, exit code 1."""
    try:
        asyncio.run(work)
    except (ApiRefused, ApiAway, CannotTrigger, StreamReplaced) as error:
        raise click.ClickException(str(error)) from error
