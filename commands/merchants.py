"""`tolem merchants` and `tolem keys`."""

import rich_click as click

from commands.console import console, table
from commands.shared import operator_registry, run
from db.registry import ApiKeyRow
from domain.merchant import Mode
from domain.rate_limit import MAX_BURST, MAX_PER_MINUTE, RateLimit
from operations.keys import add_key, add_merchant


@click.group()
def merchants() -> None:
    """Who takes payments here."""


@merchants.command("add")
@click.option("--name", required=True, help="Shown to payers.")
@click.option("--bin", "bin_", required=True, help="BIN or IIN, 12 digits.")
def merchants_add(name: str, bin_: str) -> None:
    """Add a merchant; prints its id. Next: `tolem keys add`, `tolem connections add`."""

    async def work() -> None:
        async with operator_registry() as registry:
            console.print((await add_merchant(registry, name, bin_)).id)

    run(work())


@merchants.command("list")
def merchants_list() -> None:
    """List merchants."""

    async def work() -> None:
        rows = table("id", "name", "bin", "since")
        async with operator_registry() as registry:
            for one in await registry.merchants():
                rows.add_row(one.id, one.name, one.bin, f"{one.created_at:%Y-%m-%d}")
        console.print(rows)

    run(work())


@click.group()
def keys() -> None:
    """API keys: shown once, kept as hashes."""


@keys.command("add")
@click.argument("merchant_id")
@click.option(
    "--mode", type=click.Choice([mode.value for mode in Mode]), required=True, help="`test` makes sandbox objects only."
)
@click.option("--name", default="", help="What the key is for.")
def keys_add(merchant_id: str, mode: str, name: str) -> None:
    """Make a key; prints it **once**."""

    async def work() -> None:
        async with operator_registry() as registry:
            if await registry.merchant(merchant_id) is None:
                raise click.ClickException("There is no such merchant; see `tolem merchants list`.")
            console.print(await add_key(registry, merchant_id, Mode(mode), name or f"{mode} key"))

    run(work())


@keys.command("list")
@click.argument("merchant_id")
def keys_list(merchant_id: str) -> None:
    """List a merchant's keys."""

    async def work() -> None:
        rows = table("id", "mode", "name", "ends with", "limit", "since", "revoked")
        async with operator_registry() as registry:
            for one in await registry.keys(merchant_id):
                revoked = f"{one.revoked_at:%Y-%m-%d %H:%M}" if one.revoked_at else ""
                rows.add_row(
                    one.id, one.mode, one.name, one.hint, _limit_of(one), f"{one.created_at:%Y-%m-%d}", revoked
                )
        console.print(rows)

    run(work())


def _limit_of(key: ApiKeyRow) -> str:
    if key.rate_per_minute is None:
        return "default"
    return f"{key.rate_per_minute}/min, burst {key.rate_burst}" if key.rate_per_minute else "none"


@keys.command("limit")
@click.argument("key_id")
@click.option("--per-minute", type=click.IntRange(0, MAX_PER_MINUTE), help="Requests a minute; 0 is no limit.")
@click.option("--burst", type=click.IntRange(1, MAX_BURST), help="Requests at once; by default those of a minute.")
@click.option("--default", "default_", is_flag=True, help="Back to the limit of the settings.")
def keys_limit(key_id: str, per_minute: int | None, burst: int | None, *, default_: bool) -> None:
    """Give a key a rate limit of its own, from the next request on."""
    if default_ is (per_minute is not None) or (default_ and burst is not None):
        raise click.UsageError("Give --per-minute (and --burst), or --default.")
    limit = None if per_minute is None else RateLimit(per_minute, burst or max(1, per_minute))

    async def work() -> None:
        async with operator_registry() as registry:
            if not await registry.limit_key(key_id, limit):
                raise click.ClickException("There is no such valid key; see `tolem keys list`.")
        console.print("default" if limit is None else f"{limit.per_minute} a minute, {limit.burst} at once")

    run(work())


@keys.command("revoke")
@click.argument("key_id")
def keys_revoke(key_id: str) -> None:
    """Revoke a key at once."""

    async def work() -> None:
        async with operator_registry() as registry:
            if not await registry.revoke_key(key_id):
                raise click.ClickException("There is no such valid key; see `tolem keys list`.")
        console.print("revoked")

    run(work())
