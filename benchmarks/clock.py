"""Fair timing on a noisy machine: CPU-seconds of alternating rounds, medians, ratios to a floor of the same run."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call took: CPU-seconds of this process and its finished children, and seconds on the wall."""

    cpu_s: float
    wall_s: float


def cost(work: Callable[[], object]) -> Cost:
    """Run `work` once. CPU of children counts when they have ended and been waited for."""
    cpu, wall = _cpu_s(), time.perf_counter()
    work()
    return Cost(_cpu_s() - cpu, time.perf_counter() - wall)


def medians(works: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, Cost]:
    """Median cost of each of `works`. Rounds alternate between them, so that a slow minute of the machine hits all alike."""
    seen: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seen[name].append(cost(work))
    return {
        name: Cost(statistics.median(c.cpu_s for c in costs), statistics.median(c.wall_s for c in costs)) for name, costs in seen.items()
    }


def _cpu_s() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))
