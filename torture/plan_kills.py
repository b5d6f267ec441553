"""Which part dies when. Times in seconds from the start."""

from random import Random

import msgspec

from torture.size import Size

# The worker holds the money protocol; the other three hold what it leans on.
_PARTS = {"worker": 40, "api": 20, "temporal": 20, "postgres": 20}
_PAUSES = (0.0, 1.0, 3.0, 6.0)
_PAUSE_WEIGHTS = (60, 20, 15, 5)
_TOGETHER = 0.12


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """SIGKILL to `part`, which stays away for `pause` seconds (and as long as a start takes)."""

    at: float
    part: str
    pause: float


def plan_kills(chance: Random, size: Size) -> list[Kill]:
    """So many kills, spread over the run with jitter; some hit two parts at once."""
    gap = size.seconds / max(1, size.kills)
    kills: list[Kill] = []
    for number in range(size.kills):
        joins = bool(kills) and chance.random() < _TOGETHER
        at = kills[-1].at if joins else (number + chance.random()) * gap
        others = {part: weight for part, weight in _PARTS.items() if not (joins and part == kills[-1].part)}
        part = chance.choices(list(others), list(others.values()))[0]
        kills.append(Kill(at=round(at, 2), part=part, pause=chance.choices(_PAUSES, _PAUSE_WEIGHTS)[0]))
    return sorted(kills, key=lambda kill: kill.at)
