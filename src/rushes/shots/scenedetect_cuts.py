"""Cuts that a detector of PySceneDetect found inside the pass. The minimum length of a shot is applied here, afterwards."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from rushes.records import seconds
from rushes.shots.content import merge_flashes


def scenedetect_cuts(
    name: str, flags: npt.NDArray[np.float32], pts: npt.NDArray[np.int64], time_base: Fraction, *, min_s: float
) -> npt.NDArray[np.intp]:
    """Indices of the first frame of each new shot, from the detector's cut flags (recorded with a minimum length of 0).

    The content detector merges cuts closer than `min_s` seconds; the others drop one that is closer to the cut before, or to the start.
    """
    found = np.flatnonzero(flags > 0.5)
    if name == "content":
        return merge_flashes(found, pts, time_base, min_s)
    return drop_close(found, pts, time_base, min_s)


def drop_close(found: npt.NDArray[np.intp], pts: npt.NDArray[np.int64], time_base: Fraction, min_s: float) -> npt.NDArray[np.intp]:
    """Of increasing indices those at least `min_s` seconds after the one kept before, or after the first frame."""
    kept: list[int] = []
    last = 0
    for frame in map(int, found):
        if seconds(int(pts[frame] - pts[last]), time_base) >= min_s:
            kept.append(frame)
            last = frame
    return np.array(kept, np.intp)
