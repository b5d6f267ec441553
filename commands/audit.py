"""`tolem audit`."""

from datetime import UTC, datetime
from typing import IO

import msgspec
import rich_click as click
from rich.markup import escape

from commands.console import console, table
from commands.shared import operator_database, run
from db.audit_reads import AuditChains
from domain.audit_chain import Broken, ChainCheck, Head


class Heads(msgspec.Struct, frozen=True, kw_only=True):
    """What `tolem audit head` exports."""

    taken_at: datetime
    heads: list[Head]


@click.group()
def audit() -> None:
    """Who did what, and whether the record of it is whole."""


@audit.command("list")
@click.option("--merchant", "merchant_id", help="Only this merchant's rows.")
@click.option("--object", "object_id", help="Only rows about this invoice, refund, key, …")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many rows.")
def audit_list(merchant_id: str | None, object_id: str | None, limit: int) -> None:
    """The last rows, newest first."""

    async def work() -> None:
        rows = table("when", "merchant", "position", "who", "what", "object", "before", "after", "note")
        async with operator_database() as engine:
            for one in await AuditChains(engine).latest(merchant_id, object_id, limit=limit):
                when, who = f"{one.created_at:%Y-%m-%d %H:%M:%S}", escape(f"{one.actor_kind} {one.actor_id}")
                told = (one.before or "", one.after or "", escape(one.note or ""))
                rows.add_row(when, one.merchant_id, str(one.position), who, one.action, one.object_id, *told)
        console.print(rows)

    run(work())


@audit.command("head")
@click.option("--merchant", "merchant_id", help="Only this merchant's chain.")
def audit_head(merchant_id: str | None) -> None:
    """Print the last position and hash of each chain as JSON. Keep it **where this database's owner cannot write**."""

    async def work() -> None:
        async with operator_database() as engine:
            chains = AuditChains(engine)
            found = [await chains.head(one) for one in await chains.merchants(merchant_id)]
        heads = Heads(taken_at=datetime.now(UTC), heads=[head for head in found if head is not None])
        click.echo(msgspec.json.format(msgspec.json.encode(heads), indent=2).decode())

    run(work())


@audit.command("verify")
@click.option("--merchant", "merchant_id", help="Only this merchant's chain.")
@click.option("--head", "head_file", type=click.File("rb"), help="A file of `tolem audit head`, taken earlier.")
def audit_verify(merchant_id: str | None, head_file: IO[bytes] | None) -> None:
    """Recompute every chain; exit code 1 names the first break of each.

    Without `--head`, a tail that was cut off and a history that was written anew cannot be told from a whole one.
    """
    heads = _heads(head_file)
    if merchant_id is not None:
        heads = {known: head for known, head in heads.items() if known == merchant_id}

    async def work() -> None:
        broken = []
        async with operator_database() as engine:
            chains = AuditChains(engine)
            known = {*await chains.merchants(merchant_id), *heads}
            if not known and merchant_id is not None:
                raise click.ClickException("There is no such merchant; see `tolem merchants list`.")
            for one in sorted(known):
                check = await _checked(chains, one, heads.get(one))
                if check.broken is not None:
                    broken.append(check.broken)
                else:
                    console.print(f"{one}: {check.position} rows, {_bounded(heads.get(one))}")
        if broken:
            raise click.ClickException("\n".join(_told(one) for one in broken))

    run(work())


async def _checked(chains: AuditChains, merchant_id: str, head: Head | None) -> ChainCheck:
    check = ChainCheck(merchant_id, head)
    async for row in chains.rows(merchant_id):
        check.read(row)
    check.finish()
    return check


def _heads(file: IO[bytes] | None) -> dict[str, Head]:
    if file is None:
        return {}
    try:
        known = msgspec.json.decode(file.read(), type=Heads)
    except msgspec.MsgspecError as error:
        raise click.ClickException(f"This is no file of `tolem audit head`: {error}") from error
    return {head.merchant_id: head for head in known.heads}


def _bounded(head: Head | None) -> str:
    return (
        "whole, nothing to compare its end with" if head is None else f"whole, and true to the head at {head.position}"
    )


def _told(broken: Broken) -> str:
    return f"merchant {broken.merchant_id}, position {broken.position}: {broken.why}"
