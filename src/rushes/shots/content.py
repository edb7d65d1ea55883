"""PySceneDetect's content detector, on the stored signal: a frame is a cut when its content reaches a threshold.

Cuts closer than the minimum length are merged as its FlashFilter does in mode MERGE (scenedetect 0.7.2, detector.py): of a burst
of frames above the threshold the first is a cut, and the last one too if the burst was long enough; those between are not.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from rushes.records import seconds

THRESHOLD = 27.0
"""PySceneDetect's default, ContentDetector(threshold)."""

Index = npt.NDArray[np.intp]


def content_cuts(
    content: npt.NDArray[np.float32], pts: npt.NDArray[np.int64], time_base: Fraction, *, threshold: float | None = None, min_s: float
) -> Index:
    """Indices of the first frame of each new shot.

    Args:
        content: (n,) the signal `content`; NaN (the first frame) counts as 0.
        pts: (n,) increasing.
        time_base: seconds of a tick.
        threshold: content from which a frame is a cut, 8-bit levels; None: 27.
        min_s: cuts closer than this are merged, seconds; 0: every frame that reaches the threshold is a cut.
    """
    above = np.flatnonzero(np.nan_to_num(content.astype(np.float64)) >= (THRESHOLD if threshold is None else threshold))
    return merge_flashes(above, pts, time_base, min_s)


def merge_flashes(above: Index, pts: npt.NDArray[np.int64], time_base: Fraction, min_s: float) -> Index:
    """FlashFilter's MERGE: which of the frames `above` the threshold (increasing indices) become cuts."""
    if min_s <= 0 or not len(above):
        return above

    def apart(first: int, last: int) -> bool:
        return seconds(int(pts[last] - pts[first]), time_base) >= min_s

    cuts: list[int] = []
    last, enabled, merge_start = 0, False, -1
    for frame in map(int, above):
        if merge_start >= 0 and _burst_over(frame - 1, last, merge_start, apart):
            cuts.append(last)
            merge_start = -1
        met, last = apart(last, frame), frame
        if merge_start >= 0:
            continue
        if met:
            enabled = True
            cuts.append(frame)
        elif enabled:
            merge_start = frame
    if merge_start >= 0 and _burst_over(len(pts) - 1, last, merge_start, apart):
        cuts.append(last)
    return np.array(cuts, np.intp)


def _burst_over(quiet: int, last: int, merge_start: int, apart: Callable[[int, int], bool]) -> bool:
    """Whether a burst from `merge_start` to `last` was long enough and has been followed by enough quiet, up to the frame `quiet`."""
    return quiet > last and apart(last, quiet) and apart(merge_start, last)
