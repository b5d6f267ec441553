"""CPU time of processes and all their descendants."""

from collections.abc import Mapping

import psutil


class CpuMeter:
    """Reads what the named processes have used so far; two readings make a measurement."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._roots = {name: psutil.Process(pid) for name, pid in pids.items()}

    def read(self) -> dict[str, float]:
        """CPU seconds by name, of the living and of those that have ended and were waited for."""
        return {name: _tree_seconds(root) for name, root in self._roots.items()}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was used between two readings."""
    return {name: after[name] - before[name] for name in before if name in after}


def _tree_seconds(root: psutil.Process) -> float:
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its parent has inherited its time
        total += times.user + times.system + times.children_user + times.children_system
    return total
