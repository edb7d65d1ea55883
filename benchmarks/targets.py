"""Figures against their targets: one printed line each, and the exit code of a benchmark."""

from __future__ import annotations

import os


class Targets:
    """Prints figures with bound and verdict, and remembers whether one missed.

    The first line states the load of the machine: figures taken beside other work are no figures.
    """

    def __init__(self) -> None:
        self.missed: list[str] = []
        print(f"load before: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores", flush=True)

    def at_most(self, name: str, value: float, bound: float, unit: str = "") -> None:
        """A figure that is to be small."""
        self._line(name, value, "<=", bound, unit, value <= bound)

    def at_least(self, name: str, value: float, bound: float, unit: str = "") -> None:
        """A figure that is to be large."""
        self._line(name, value, ">=", bound, unit, value >= bound)

    def _line(self, name: str, value: float, sign: str, bound: float, unit: str, good: bool) -> None:
        print(f"{name:46} {value:8.3f} {unit:6} target {sign} {bound:<6g} {'ok' if good else 'MISSED'}", flush=True)
        if not good:
            self.missed.append(name)

    def close(self) -> int:
        """Prints the verdict on all; the exit code: 0, or 1 when one missed."""
        print(f"load after: {os.getloadavg()[0]:.1f}")
        print(f"missed: {', '.join(self.missed)}" if self.missed else "all targets met", flush=True)
        return 1 if self.missed else 0
