"""Letterbox: black bars around the picture."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rushes.scan.levels import F32

BAR_LEVEL = 8.0
"""Highest mean grey level of a row or column in a bar: black, with some coding noise.

FFmpeg's cropdetect allows 24, which takes dark pictures for bars: in scenes at a tenth of their light up to 79 % of the area was "bars".
"""
BAR_SPREAD = 2.0
"""Largest standard deviation of a row or column in a bar, grey levels: bars are flat, dark skies and walls are not."""


def _bars(image: F32) -> tuple[int, int]:
    """Number of flat black rows at the top and at the bottom."""
    if not _black(image[:1])[0] and not _black(image[-1:])[0]:
        return 0, 0
    picture = np.flatnonzero(~_black(image))
    if picture.size == 0:
        return len(image), 0
    return int(picture[0]), int(len(image) - 1 - picture[-1])


def _black(rows: F32) -> npt.NDArray[np.bool_]:
    """Which rows are dark and flat enough to be a bar."""
    mean = rows.mean(axis=1)
    spread = np.einsum("ij,ij->i", rows, rows) / rows.shape[1] - mean**2
    out: npt.NDArray[np.bool_] = (mean <= BAR_LEVEL) & (spread <= BAR_SPREAD**2)
    return out


def letterbox(luma: F32) -> float:
    """Share of the frame's area in black bars, in [0, 1); NaN for a frame that is all black, where bars and picture look alike.

    Args:
        luma: (h, w) float32 full-range grey levels.

    Rows are tested first, then the columns of the rows that are left.
    """
    height, width = luma.shape
    top, bottom = _bars(luma)
    if top + bottom >= height:
        return math.nan
    left, right = _bars(luma[top : height - bottom].T)
    return float(1.0 - (height - top - bottom) * (width - left - right) / (height * width))
