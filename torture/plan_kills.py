"""Which part dies at the end of which step. Seconds count from when the step begins."""

from random import Random

import msgspec

from torture.size import Size

# The worker holds the money protocol; the others hold what it leans on, or repeat what failed.
_PARTS = {"worker": 35, "deliveries": 10, "api": 20, "temporal": 20, "postgres": 15}
_PAUSES = (0.0, 1.0, 3.0, 6.0)
_PAUSE_WEIGHTS = (60, 20, 15, 5)
_HURRIES = 0.25
# Step lengths in seconds: a kill that hurries does not even wait until the part killed before it serves again.
# After a death the engine takes some seconds to notice; the other steps give it the time to get to work, mostly.
_STEP = (1.0, 8.0)
_HURRY = (0.1, 1.0)


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """SIGKILL to `part`, which stays away for `pause` seconds (and as long as a start takes).

    It comes `after` seconds of a system in which everything serves; one that `hurries` does not wait for that.
    """

    part: str
    after: float
    pause: float
    hurries: bool


def plan_kills(chance: Random, size: Size) -> list[Kill]:
    """One for each step but the last."""
    return [_kill(chance, hurries=chance.random() < _HURRIES) for _ in range(size.kills)]


def _kill(chance: Random, *, hurries: bool) -> Kill:
    return Kill(
        part=chance.choices(list(_PARTS), list(_PARTS.values()))[0],
        after=round(chance.uniform(*(_HURRY if hurries else _STEP)), 2),
        pause=chance.choices(_PAUSES, _PAUSE_WEIGHTS)[0],
        hurries=hurries,
    )
