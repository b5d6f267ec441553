"""What a delivery's own workflow would be asked to do; no workflow runs."""

from dataclasses import dataclass, field

from workflows.client import EngineAway


@dataclass
class Tails:
    """Which deliveries were given to their own workflow, and with which wait."""

    started: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    away: bool = False

    async def begin_delivery(self, merchant_id: str, delivery_id: str, *, wait: float) -> None:
        await self.continue_delivery(merchant_id, delivery_id, wait=wait)

    async def continue_delivery(self, merchant_id: str, delivery_id: str, *, wait: float = 0.0) -> None:
        if self.away:
            raise EngineAway("no answer in time")
        self.started.append(delivery_id)
        self.waits.append(wait)
