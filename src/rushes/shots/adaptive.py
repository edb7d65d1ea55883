"""PySceneDetect's adaptive detector, on the stored signal: a frame is a cut when its content is a multiple of its neighbours' mean."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from rushes.shots.scenedetect_cuts import drop_close

RATIO = 3.0
WINDOW = 2
MIN_CONTENT = 15.0
"""PySceneDetect's defaults: AdaptiveDetector(adaptive_threshold, window_width, min_content_val), scenedetect 0.7.2."""
TOP_RATIO = 255.0
"""Largest ratio; a change between frames without any change gets this one (same source)."""


def adaptive_ratio(content: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(n,) content divided by the mean of its 2 + 2 neighbours, as PySceneDetect has it; 0 for the first and last two frames."""
    score = np.nan_to_num(content.astype(np.float64))
    ratio = np.zeros(len(score))
    if len(score) <= 2 * WINDOW:
        return ratio
    n = len(score) - 2 * WINDOW
    near = sum((score[i : i + n] for i in range(2 * WINDOW + 1) if i != WINDOW), np.zeros(n)) / (2.0 * WINDOW)
    middle = score[WINDOW:-WINDOW]
    still = near < 1e-5
    capped = np.minimum(middle / np.where(still, 1.0, near), TOP_RATIO)
    ratio[WINDOW:-WINDOW] = np.where(still, np.where(middle >= MIN_CONTENT, TOP_RATIO, 0.0), capped)
    return ratio


def adaptive_cuts(
    content: npt.NDArray[np.float32], pts: npt.NDArray[np.int64], time_base: Fraction, *, ratio: float | None = None, min_s: float
) -> npt.NDArray[np.intp]:
    """Indices of the first frame of each new shot.

    Args:
        content: (n,) the signal `content`; NaN (the first frame) counts as 0.
        pts: (n,) increasing.
        time_base: seconds of a tick.
        ratio: least ratio of a cut's content to the mean of its neighbours; None: 3.
        min_s: a cut closer than this to the one before, or to the video's start, is dropped, seconds.
    """
    wanted = RATIO if ratio is None else ratio
    score = np.nan_to_num(content.astype(np.float64))
    found = (adaptive_ratio(content) >= wanted) & (score >= MIN_CONTENT)
    found[:WINDOW] = found[max(len(found) - WINDOW, 0) :] = False
    return drop_close(np.flatnonzero(found), pts, time_base, min_s)
