"""`tolem listen`: this merchant's events on a laptop, as webhooks, without a tunnel."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import rich_click as click
from rich.markup import escape

from commands.console import console
from commands.over_api import api_options, client_of, run_over_api
from operations.api_client import ApiClient
from operations.following import Connected, Event, Following, Lost
from operations.listening import forward, rules_for, told, types_of
from webhooks.attempt import Attempt
from webhooks.errors import UrlRefused
from webhooks.guard import EgressRules
from webhooks.sender import Sender
from webhooks.signing import new_secret, sign

RETRY_SECONDS = (1.0, 2.0, 5.0)
SHOWN_OF_AN_ANSWER = 200


class _Listener:
    """Forwards one event after the other, in their order, and tells each."""

    def __init__(self, sender: Sender, url: str, secret: str, *, retry: bool) -> None:
        self._sender = sender
        self._url = url
        self._secret = secret
        self._retry = retry
        self.tally = Counter[str]()

    async def deal_with(self, event: Event) -> None:
        """Forwards it; with `retry` until the server takes it."""
        failures = 0
        while True:
            attempt = await forward(self._sender, self._url, self._secret, event)
            _tell(event, attempt)
            if attempt.delivered or not self._retry:
                break
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1
        self.tally["delivered" if attempt.delivered else "failed"] += 1


@click.command()
@api_options
@click.option("--forward-to", "forward_to", required=True, metavar="URL", help="Your server's webhook URL.")
@click.option("--events", "patterns", metavar="NAMES", help="Only these, with commas: `refund.*,invoice.refunded`.")
@click.option("--secret", metavar="whsec_…", help="Sign with this secret; otherwise one is made and shown.")
@click.option(
    "--secret-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sign with the secret in this file; it is made, with a new secret, if it is not there.",
)
@click.option("--after", metavar="PLACE", help="Begin behind this event (`evt_…`), or where a run before ended.")
@click.option("--retry", is_flag=True, help="Repeat an event until your server takes it, before the next one.")
def listen(
    api_url: str | None,
    api_key: str | None,
    forward_to: str,
    patterns: str | None,
    secret: str | None,
    secret_file: Path | None,
    after: str | None,
    *,
    retry: bool,
) -> None:
    """Receive events and forward each to your server, **signed as in production**. Ctrl-C ends it.

    A test key gets sandbox events, a live key all of them.
    """
    rules, types = _rules(forward_to), _types(patterns)
    signing = _secret(secret, secret_file)
    client = client_of(api_url, api_key)
    run_over_api(_until_stopped(client, rules, forward_to, signing, Following(client, types, after), retry=retry))


def _rules(url: str) -> EgressRules:
    try:
        return rules_for(url)
    except (UrlRefused, ValueError) as error:
        raise click.UsageError(f"--forward-to: {error}") from error


def _types(patterns: str | None) -> list[str] | None:
    try:
        return types_of([name.strip() for name in (patterns or "").split(",") if name.strip()])
    except KeyError as unknown:
        raise click.UsageError(f"--events: there is no event {unknown}; see `tolem trigger --list`.") from unknown


def _secret(given: str | None, file: Path | None) -> str:
    if given is not None and file is not None:
        raise click.UsageError("Give --secret or --secret-file, not both.")
    if given is not None:
        return _checked(given, "--secret")
    if file is not None:
        return _kept(file)
    made = new_secret()
    console.print(f"Signing secret: [bold]{made}[/bold] (for this run; keep one with --secret-file)")
    return made


def _kept(file: Path) -> str:
    try:
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(new_secret() + "\n", encoding="utf-8")
        console.print(f"The signing secret is in {escape(str(file))}")
        return _checked(file.read_text(encoding="utf-8").strip(), "--secret-file")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise click.UsageError(f"--secret-file: {reason}.") from error


def _checked(secret: str, option: str) -> str:
    try:
        sign([secret], "evt_", datetime.now().astimezone(), b"")
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}.") from error
    return secret


async def _until_stopped(
    client: ApiClient, rules: EgressRules, url: str, secret: str, following: Following, *, retry: bool
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with client, Sender(rules) as sender:
        listener = _Listener(sender, url, secret, retry=retry)
        listening = asyncio.create_task(_listen(following, listener, url))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({listening, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            listening.cancel()
            (problem,) = await asyncio.gather(listening, return_exceptions=True)
            _sum_up(listener.tally, following.place)
    if isinstance(problem, Exception):
        raise problem


async def _listen(following: Following, listener: _Listener, url: str) -> None:
    async with aclosing(following.news()) as news:
        async for item in news:
            match item:
                case Event():
                    await listener.deal_with(item)
                case Connected(again=again):
                    console.print("Connected again; nothing was missed." if again else f"Forwarding to {escape(url)}")
                case Lost(why=why, wait=wait):
                    console.print(f"[yellow]{escape(why)}[/yellow] Trying again in {wait:.0f} s.")


def _tell(event: Event, attempt: Attempt) -> None:
    about = told(event)
    answer = str(attempt.error) if attempt.status is None else str(attempt.status)
    if attempt.status is not None and not attempt.delivered:
        answer += f" {attempt.error}"
    colour = "green" if attempt.delivered else "red"
    parts = [f"{datetime.now():%H:%M:%S}", event.type, about.object_id, about.state, event.id]  # noqa: DTZ005 -- theirs
    line = escape("  ".join(part for part in _plain(parts) if part))
    console.print(f"{line}  [{colour}]{escape(answer)}[/{colour}]  {attempt.latency_ms} ms")
    if not attempt.delivered and attempt.response_excerpt.strip():
        (excerpt,) = _plain([attempt.response_excerpt.strip()[:SHOWN_OF_AN_ANSWER]])
        console.print(f"          {escape(excerpt)}")


def _plain(parts: Iterable[str]) -> list[str]:
    """On one line, and without what would drive the terminal."""
    return ["".join(one if one.isprintable() else " " for one in part) for part in parts]


def _sum_up(tally: Counter[str], place: str | None) -> None:
    console.print(f"{tally['delivered']} delivered, {tally['failed']} failed.")
    if place is not None:
        console.print(f"Go on from here with --after {escape(place)}")
