"""Holes: long steps in a video during which the camera was off. No clip holds any of them, and they are no footage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

HOLE_STEPS = 20
"""A hole is longer than so many median steps, so that a time-lapse, where all steps are long, has none."""
NEAR = 30
"""The median is that of so many steps before it, and of so many after it, whichever is longer: so a time-lapse has no hole where it begins
after ordinary film, nor where it ends."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A hole: [start_pts, end_pts), and `at`, the index of the first frame after it. The frame before is shown for a usual step."""

    at: int
    start_pts: int
    end_pts: int


def holes_of(pts: I64, time_base: Fraction, hole_s: float) -> list[Hole]:
    """The holes of a video, in order.

    Args:
        pts: (n,) strictly increasing.
        time_base: seconds of a tick.
        hole_s: a step up to this is no hole, seconds; 0: nothing is one.
    """
    steps = np.diff(pts)
    found = []
    for i in np.flatnonzero(steps > hole_s / time_base) if hole_s else ():
        sides = (steps[max(0, i - NEAR) : i], steps[i + 1 : i + 1 + NEAR])
        usual = [max(1, int(np.median(side))) for side in sides if len(side)]
        if usual and steps[i] > HOLE_STEPS * max(usual):
            found.append(Hole(int(i) + 1, int(pts[i]) + usual[0], int(pts[i + 1])))
    return found


def ticks_of(holes: Iterable[Hole]) -> int:
    """The length of all holes, ticks."""
    return sum(hole.end_pts - hole.start_pts for hole in holes)
