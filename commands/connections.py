"""`tolem connections`."""

from typing import Any

import rich_click as click

from commands.console import console, table
from commands.shared import operator_registry, run, workflow_engine
from domain.bank import Scheme
from kaspi.client import KaspiClient
from kaspi.config import KaspiConfig
from kaspi.directory import BankLimits, config_of
from operations.connections import ConnectionPlan, connect_bank, open_connection
from runtime import settings as conf
from runtime.secrets import SealBox
from runtime.temporal import TemporalUnreachable
from workflows.client import Engine, EngineAway

NO_ENGINE = (
    "Temporal does not answer, and a link to the bank needs its poller. Nothing was changed; "
    "see TOLEM_TEMPORAL_ADDRESS, then repeat this command."
)


@click.group()
def connections() -> None:
    """Links to the bank."""


@connections.command("add")
@click.argument("merchant_id")
@click.option("--scheme", type=click.Choice([scheme.value for scheme in Scheme]), required=True)
@click.option("--base-url", required=True, help="From the bank's letter, ends with `/v01`.")
@click.option("--organization-bin", help="r3: whose money it is.")
@click.option("--trade-point", type=int, help="Id; not needed where there is only one.")
@click.option("--device-id", default="tolem", show_default=True, help="Our till's name at the bank.")
@click.option("--api-key-file", type=click.File(), help="r1: the key of the bank.")
@click.option("--certificate", type=click.File(), help="r2, r3: client certificate, PEM.")
@click.option("--private-key", type=click.File(), help="r2, r3: its key, PEM.")
@click.option("--pfx", type=click.File("rb"), help="r2, r3: certificate and key as PFX, instead of PEM.")
@click.option("--passphrase-file", type=click.File(), help="Passphrase of the key or the PFX.")
@click.option("--trust", type=click.File(), help="The bank's CA certificates, PEM; added to the system's.")
def connections_add(merchant_id: str, **given: Any) -> None:
    """Try the bank, register our device there and put the link into use; secrets are sealed."""

    def text(name: str) -> str | None:
        return given[name].read().strip() if given[name] else None

    passphrase, pfx = text("passphrase_file"), given["pfx"].read() if given["pfx"] else None
    config = KaspiConfig(
        scheme=Scheme(given["scheme"]),
        base_url=given["base_url"],
        organization_bin=given["organization_bin"],
        api_key=text("api_key_file"),
        certificate_pem=text("certificate"),
        private_key_pem=text("private_key"),
        private_key_password=None if pfx else passphrase,
        pfx=pfx,
        pfx_password=passphrase if pfx else None,
        trust_pem=text("trust"),
    )
    plan = ConnectionPlan(
        merchant_id=merchant_id, config=config, device_id=given["device_id"], trade_point_id=given["trade_point"]
    )

    async def work() -> None:
        box = SealBox(conf.load(conf.Keys)[conf.Keys].seal)
        async with operator_registry() as registry:
            if await registry.merchant(merchant_id) is None:
                raise click.ClickException("There is no such merchant; see `tolem merchants list`.")
            engine = await _ready_engine()
            made = await connect_bank(registry, box, plan)
        console.print(f"{made.id}  trade point {made.trade_point_id} {made.trade_point_name}")
        try:
            await engine.watch_connection(merchant_id, made.id)
        except EngineAway as error:
            raise click.ClickException(
                "The link is in use, but its poller could not be started: Temporal went away. "
                f"Run `tolem connections check {merchant_id}` when it is back."
            ) from error

    run(work())


async def _ready_engine() -> Engine:
    """The engine, before anything is changed: a link without its poller would not notice payments."""
    try:
        engine = await workflow_engine()
        if await engine.ready():
            return engine
    except TemporalUnreachable as error:
        raise click.ClickException(NO_ENGINE) from error
    raise click.ClickException(NO_ENGINE)


@connections.command("list")
def connections_list() -> None:
    """List the links in use."""

    async def work() -> None:
        rows = table("id", "merchant", "scheme", "bin", "trade point", "health", "reason", "last ok")
        async with operator_registry() as registry:
            for one in await registry.connections():
                point = f"{one.trade_point_id} {one.trade_point_name or ''}"
                last = f"{one.last_ok_at:%Y-%m-%d %H:%M:%S}" if one.last_ok_at else "never"
                reason = one.health_reason or ""
                rows.add_row(
                    one.id, one.merchant_id, one.scheme, one.organization_bin or "", point, one.health, reason, last
                )
        console.print(rows)

    run(work())


@connections.command("check")
@click.argument("merchant_id")
def connections_check(merchant_id: str) -> None:
    """Ping the bank over the merchant's link, and make sure that its poller runs."""

    async def work() -> None:
        box = SealBox(conf.load(conf.Keys)[conf.Keys].seal)
        async with operator_registry() as registry:
            found = await registry.sealed_connection(merchant_id)
        if found is None:
            raise click.ClickException("This merchant has no link; see `tolem connections add`.")
        connection, secrets = open_connection(box, *found)
        async with KaspiClient(config_of(connection, secrets, BankLimits())) as client:
            await client.ping()
        console.print(f"{connection.id}: the bank answers")
        await (await workflow_engine()).watch_connection(merchant_id, connection.id)

    run(work())
