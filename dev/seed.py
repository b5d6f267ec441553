"""The demo merchant of `make up`: two keys, and a live connection to the emulated bank."""

from db.engine import create_engine
from db.registry import Registry
from dev.seed_plan import SeedPlan
from domain.bank import Scheme
from domain.merchant import Mode
from kaspi.config import KaspiConfig
from operations.connections import ConnectionPlan, connect_bank
from operations.keys import add_key, add_merchant
from runtime import settings as conf
from runtime.secrets import SealBox

DEMO_NAME = "Demo shop"
DEMO_BIN = "210140000016"  # the emulator's demo organisation
DEMO_TRADE_POINT = 10001


async def seed(plan: SeedPlan) -> None:
    """Makes what is missing; a second run finds everything and changes nothing.

    A link to the emulator at other ports (`TOLEM_DEV_PORT_BASE` over old data) counts as missing.
    """
    settings = conf.load(conf.OperatorDatabase, conf.Keys, environ=plan.environment)
    engine = create_engine(settings[conf.OperatorDatabase].url.reveal(), pool_size=1)
    registry = Registry(engine)
    try:
        merchant = next((one for one in await registry.merchants() if one.bin == DEMO_BIN), None)
        if merchant is None:
            merchant = await add_merchant(registry, DEMO_NAME, DEMO_BIN)
        known = {row.hint for row in await registry.keys(merchant.id) if row.revoked_at is None}
        for mode, key in ((Mode.TEST, plan.test_key), (Mode.LIVE, plan.live_key)):
            if key[-4:] not in known:
                await add_key(registry, merchant.id, mode, f"demo {mode}", key=key)
        links = {(one.merchant_id, one.base_url) for one in await registry.connections()}
        if (merchant.id, _bank_address(plan)) not in links:
            await connect_bank(registry, SealBox(settings[conf.Keys].seal), _emulator(merchant.id, plan))
    finally:
        await engine.dispose()


def _bank_address(plan: SeedPlan) -> str:
    return f"{plan.bank_url}/r3/v01"


def _emulator(merchant_id: str, plan: SeedPlan) -> ConnectionPlan:
    read = {name: (plan.certificates / name).read_text() for name in ("client.pem", "client.key", "ca.pem")}
    return ConnectionPlan(
        merchant_id=merchant_id,
        device_id="tolem-demo",
        trade_point_id=DEMO_TRADE_POINT,
        config=KaspiConfig(
            scheme=Scheme.R3,
            base_url=_bank_address(plan),
            organization_bin=DEMO_BIN,
            certificate_pem=read["client.pem"],
            private_key_pem=read["client.key"],
            trust_pem=read["ca.pem"],
        ),
    )
