"""Reconciliations of the running system: planting for a shop, running one, and the rig of many payments."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec

from contracts.rendering import Contracts
from db.engine import create_engine
from db.ledger import Ledger
from db.reconciliation_reads import LineFilter, ReconciliationReads
from db.refunds import RefundLedger
from db.registry import MerchantRecords
from db.watches import Watches
from domain.reconciliation import LineVerdict
from domain.reconciliation_run import Line, Source
from kaspi.directory import BankDirectory, BankLimits
from operations import sealed
from runtime import settings as conf
from runtime.secrets import SealBox
from tests.support.discrepancies import HEADER, Planted, Planter, kinds, statement_of, wrong_conclusions
from tests.support.shop import Shop
from tests.support.waiting import PATIENCE, until

ALMATY = ZoneInfo("Asia/Almaty")
_rows_of_nobody = itertools.count(500_000_000 + random.randrange(10**8))


class Figures(msgspec.Struct, kw_only=True):
    """What a run of the rig measured; `faults` must be empty."""

    planted: dict[str, int]
    totals: dict[str, Any]
    faults: list[str]
    money_before: dict[str, int]
    money_after: dict[str, int]
    planting_seconds: float
    reconciling_seconds: float


@asynccontextmanager
async def planting(shop: Shop) -> AsyncIterator[Planter]:
    """A planter over the running system's own database and bank."""
    system = shop.stack.system
    environ = system.process_environment()
    settings = conf.load(conf.Database, conf.Keys, conf.Api, environ=environ)
    pool = create_engine(settings[conf.Database].url.reveal(), pool_size=10)
    loader = sealed.connection_loader(MerchantRecords(pool), SealBox(settings[conf.Keys].seal))
    banks = BankDirectory(loader, BankLimits(concurrency=8))
    renderer = Contracts(settings[conf.Api].public_url)
    assert shop.connection_id is not None
    try:
        yield Planter(
            merchant_id=shop.merchant_id,
            connection_id=shop.connection_id,
            ledger=Ledger(pool, renderer),
            refunds=RefundLedger(pool, renderer),
            watches=Watches(pool),
            bank=await banks.of(shop.merchant_id, shop.connection_id),
            admin=shop.stack.emulator,
        )
    finally:
        await banks.aclose()
        await pool.dispose()


async def start(shop: Shop, **body: object) -> dict[str, Any]:
    """A reconciliation that was just opened."""
    answer = await shop.live.post("/api/v1/reconciliations", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def over(shop: Shop, run_id: str, *, seconds: float = PATIENCE) -> dict[str, Any]:
    """The reconciliation once it is over."""

    async def look() -> dict[str, Any] | None:
        try:
            answer = await shop.live.get(f"/api/v1/reconciliations/{run_id}")
        except httpx.TransportError:
            return None
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 and found["status"] != "running" else None

    found = await until(look, f"{run_id} to be over", seconds=seconds)
    assert found is not None
    return found


async def reconcile(shop: Shop, **body: object) -> tuple[dict[str, Any], list[Line]]:
    """A whole reconciliation over the API, and its lines from the books."""
    ended = await over(shop, (await start(shop, **body))["id"])
    return ended, await lines_of(shop, ended["id"])


async def lines_of(shop: Shop, run_id: str) -> list[Line]:
    """Every line."""
    settings = conf.load(conf.Database, environ=shop.stack.system.process_environment())
    pool = create_engine(settings[conf.Database].url.reveal(), pool_size=1)
    try:
        page = await ReconciliationReads(pool).lines(shop.merchant_id, run_id, LineFilter(limit=10_000))
    finally:
        await pool.dispose()
    return page.items


async def rig(shop: Shop, *, clean: int = 2000, discrepancies: int = 200, seconds: float = 900.0) -> Figures:
    """Plants, reconciles once with a statement, and judges: each discrepancy found, nothing else, no money moved.

    One in ten discrepancies is the statement's: rows of nobody, and paid bills that it lacks.
    """
    begun = time.monotonic()
    of_statement = discrepancies // 10
    async with planting(shop) as planter:
        planted = await planter.plant(clean, discrepancies - of_statement)
    statement, expected = await _statement(shop, planted, of_statement)
    before = (await shop.stack.emulator.ledger())["totals"]
    halfway = time.monotonic()
    days = {"date_from": f"{datetime.now(ALMATY) - timedelta(days=1):%Y-%m-%d}"}
    ended = await over(shop, (await start(shop, statement=statement, **days))["id"], seconds=seconds)
    finished = time.monotonic()
    lines = await lines_of(shop, ended["id"])
    faults = wrong_conclusions(planted, [line for line in lines if line.source is Source.BANK])
    found = {line.bank_payment_id: line.verdict for line in lines if line.source is Source.STATEMENT}
    faults += [] if found == expected else [f"statement: {found.items() ^ expected.items()}"]
    faults += [] if ended["status"] == "completed" else [f"{ended['status']}: {ended['reason']}"]
    matched = ended["totals"]["bank"]["matched"]["count"]
    faults += [] if matched == clean else [f"{matched} matched, not {clean}"]
    await asyncio.sleep(1)  # what a story might still do
    after = (await shop.stack.emulator.ledger())["totals"]
    faults += [] if after == before else ["the bank's ledger has changed"]
    return Figures(
        planted=kinds(planted),
        totals=ended["totals"],
        faults=faults,
        money_before=before,
        money_after=after,
        planting_seconds=round(halfway - begun, 1),
        reconciling_seconds=round(finished - halfway, 1),
    )


async def _statement(shop: Shop, planted: list[Planted], wrong: int) -> tuple[str, dict[int, LineVerdict]]:
    """The bank's rows of what was planted with `wrong` discrepancies of its own, and the verdicts they must get."""
    lacking = [one.payment_id for one in planted if one.kind == "paid_link"][: wrong // 2]
    rows = await statement_of(shop.stack.emulator, [one.payment_id for one in planted])
    kept = [row for row in rows if int(row.split(",")[2]) not in lacking]
    # Makes the time of the statement long enough for every payment to lie in it, whatever was shuffled to the edges.
    begin, end = datetime.now(UTC) - timedelta(hours=2), datetime.now(UTC)
    nobody = [next(_rows_of_nobody) for _ in range(max(2, wrong - len(lacking)))]
    moments = [begin, *([end] * (len(nobody) - 1))]
    kept += [f"{moment.isoformat()},payment,{id_},12.50," for id_, moment in zip(nobody, moments, strict=True)]
    expected = dict.fromkeys(nobody, LineVerdict.MISSING_HERE) | dict.fromkeys(lacking, LineVerdict.MISSING_AT_BANK)
    # Paid here, and the bank never took it: the statement cannot have it either. Another amount is told by both.
    for one in planted:
        if one.kind in {"paid_here_only", "unknown_there"}:
            expected[one.payment_id] = LineVerdict.MISSING_AT_BANK
        elif one.kind in {"other_amount", "late_other_amount"}:
            expected[one.payment_id] = LineVerdict.AMOUNT_DIFFERS
    return "\n".join([HEADER, *kept]), expected
