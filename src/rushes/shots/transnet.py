"""Cuts by TransNetV2, from the stored probability that a shot ends with a frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rushes.shots.combined import F64, strongest

THRESHOLD = 0.5
"""The authors' (github.com/soCzech/TransNetV2, predictions_to_scenes)."""


def transnet_cuts(probability: npt.NDArray[np.float32], t: F64, *, threshold: float | None = None, min_s: float) -> npt.NDArray[np.intp]:
    """Indices of the first frame of each new shot: as its authors have it, the frame after a run of frames above the threshold.

    A run with which the video begins or ends leaves no shot before or after it, and is no cut.

    Args:
        probability: (n,) the signal `transnet`.
        t: (n,) seconds, increasing.
        threshold: from 0 to 1; None: 0.5.
        min_s: of cuts closer than this, seconds, the one with the largest probability is kept.
    """
    above = np.concatenate(([False], probability > (THRESHOLD if threshold is None else threshold), [False]))
    firsts, stops = np.flatnonzero(above[1:] & ~above[:-1]), np.flatnonzero(above[:-1] & ~above[1:])
    inside = (firsts > 0) & (stops < len(probability))
    score = np.zeros(len(probability))
    for first, stop in zip(firsts[inside], stops[inside], strict=True):
        score[stop] = probability[first:stop].max()
    return strongest(stops[inside], score, t, min_s)
