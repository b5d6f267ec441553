"""`tolem trigger`: a real sandbox event, made to happen through the public API."""

import rich_click as click

from commands.console import console, table
from commands.over_api import api_options, client_of, run_over_api
from domain.event import EventType
from domain.merchant import Mode
from operations.trigger_report import Happened
from operations.triggering import NOT_TRIGGERED, TRIGGERED
from operations.triggering import trigger as make_happen
from runtime.secrets import api_key_mode


def _list(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    rows = table("event", "how")
    for event in EventType:
        how = TRIGGERED.get(event) or f"not from here: {NOT_TRIGGERED[event]}"
        rows.add_row(event.value, how)
    console.print(rows)
    context.exit(0)


@click.command()
@click.argument("event", type=click.Choice([event.value for event in EventType]), metavar="EVENT")
@api_options
@click.option("--endpoint", "endpoint_id", metavar="ENDPOINT", help="With webhook.test: only this one (`whe_…`).")
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="List the events.")
def trigger(event: str, api_url: str | None, api_key: str | None, endpoint_id: str | None) -> None:
    """Make EVENT happen in the sandbox; prints the ids. Needs a **test key**."""
    wanted = EventType(event)
    if endpoint_id is not None and wanted is not EventType.WEBHOOK_TEST:
        raise click.UsageError("--endpoint goes with webhook.test only.")
    client = client_of(api_url, api_key)
    if api_key_mode(client.http.headers["X-API-Key"]) is not Mode.TEST:
        raise click.UsageError("This is a live key; only a test key (tk_test_…) can do no harm here.")

    def report(done: Happened) -> None:
        console.print(f"{done.what:<9} {done.id}")

    async def work() -> None:
        async with client:
            await make_happen(client, wanted, report, endpoint_id)

    run_over_api(work())
