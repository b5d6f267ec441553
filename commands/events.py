"""`tolem events`: look at events and send one again, over the API with a merchant's key."""

from datetime import datetime
from typing import Any

import msgspec
import rich_click as click
from rich.markup import escape

from commands.console import console, table
from commands.over_api import api_options, client_of, run_over_api
from operations.api_client import part

FEED = "/api/v1/events"
PAGE_SIZE = 100


@click.group()
def events() -> None:
    """Events of the key's merchant: list them, look at one, send one again."""


@events.command("list")
@api_options
@click.option("--type", "types", metavar="NAMES", help="Only these types, with commas.")
@click.option("--object", "object_id", help="Only those about this invoice, refund, connection or endpoint.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day (Asia/Almaty).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
def events_list(
    api_url: str | None,
    api_key: str | None,
    types: str | None,
    object_id: str | None,
    since: datetime | None,
    limit: int,
) -> None:
    """The last events, newest first."""
    params: dict[str, Any] = {"type": types, "object_id": object_id, "date_from": since and f"{since:%Y-%m-%d}"}
    params = {name: value for name, value in params.items() if value}

    async def work() -> None:
        rows = table("id", "when", "type", "object", "mode", "state", "before")
        left = limit
        async with client_of(api_url, api_key) as client:
            while left > 0:
                page = await client.get(FEED, {**params, "page_size": min(left, PAGE_SIZE)})
                for one in page["items"]:
                    rows.add_row(*(escape(cell) for cell in _cells(one)))
                left -= len(page["items"])
                if not page["has_more"]:
                    break
                params["cursor"] = page["next_cursor"]
        console.print(rows)

    run_over_api(work())


def _cells(event: dict[str, Any]) -> list[str]:
    thing = event["data"]["object"]
    id_ = thing.get("id") or thing.get("endpoint_id") or ""
    state = thing.get("state") or thing.get("status") or ""
    mode = "test" if event["is_sandbox"] else "live"
    return [event["id"], event["created_at"], event["type"], id_, mode, state, event["data"]["previous_state"] or ""]


@events.command("show")
@click.argument("event_id", metavar="EVENT")
@api_options
def events_show(event_id: str, api_url: str | None, api_key: str | None) -> None:
    """The whole of EVENT as JSON."""

    async def work() -> None:
        async with client_of(api_url, api_key) as client:
            found = await client.get(f"{FEED}/{part(event_id)}")
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())

    run_over_api(work())


@events.command("resend")
@click.argument("event_id", metavar="EVENT")
@api_options
@click.option("--endpoint", "endpoint_id", metavar="ENDPOINT", help="Only to this one (`whe_…`).")
def events_resend(event_id: str, api_url: str | None, api_key: str | None, endpoint_id: str | None) -> None:
    """Send EVENT again, to every endpoint that subscribes to it or to one; prints the deliveries."""
    body = None if endpoint_id is None else {"endpoint_id": endpoint_id}

    async def work() -> None:
        rows = table("delivery", "endpoint", "state", "attempts")
        async with client_of(api_url, api_key) as client:
            sent = (await client.post(f"{FEED}/{part(event_id)}/resend", body))["items"]
        for one in sent:
            rows.add_row(*(escape(str(one[name])) for name in ("id", "endpoint_id", "state", "attempts")))
        console.print(rows if sent else "No enabled endpoint subscribes to it; nothing was sent.")

    run_over_api(work())
