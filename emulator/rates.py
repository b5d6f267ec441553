"""Sliding-window limits, in memory and in real time: a restart forgets them, `time_scale` does not touch them."""

from collections import deque
from typing import Final

_SWEEP_AT: Final = 10_000


class Rates:
    def __init__(self) -> None:
        self._admitted: dict[str, deque[int]] = {}

    def admit(self, key: str, *, now: int, window_ms: int, limit: int) -> bool:
        """Whether one more call under `key` is within `limit` per window; only admitted calls count."""
        if len(self._admitted) >= _SWEEP_AT:
            self._admitted = {k: v for k, v in self._admitted.items() if v and v[-1] > now - window_ms}
        admitted = self._admitted.setdefault(key, deque())
        while admitted and admitted[0] <= now - window_ms:
            admitted.popleft()
        if len(admitted) >= limit:
            return False
        admitted.append(now)
        return True
