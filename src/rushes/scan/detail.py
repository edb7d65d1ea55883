"""How alike two pictures are, whatever light falls on them and whatever bars are above and below them.

A headlight, a lamp or a flare changes the luma of a whole picture, and each part of it by another amount: neither the change nor the
correlation of the two pictures tells it from a cut. What stays is where the detail lies: each cell, less the mean of those around it, in
units of how much these differ, is what it was. Of a new scene it is not.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.views import THUMB, U8
from rushes.scan.light import LEAST_CONTRAST

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

AROUND = 5
"""Side of the square of cells, a sixth of the picture's width, over which light is taken to be even."""
NOISE = 1.5
"""What differs by less than this is no detail but noise, rounding and coding, 8-bit levels."""
CHANGED = 0.06
"""A cell has changed when it and the cells beside it differ by more than this share of the contrast: a cell beside one that stays may lie
half in a black bar."""
LEAST_SHARE = 0.25
"""Least share of cells that have changed."""
FLAT = 25.0
"""A picture whose deviation is above this is not looked at for a fade, 8-bit levels: no lowest point of one has more (`shots/fade.py`)."""
LOWEST_S = 0.3
"""Nor is one that has more than another within this time, seconds."""
SIDE_S = 1.1
"""The pictures before and after a fade are searched within this time, seconds: as in `shots/fade.py`."""


def kept_in_the_dark(t: F64, thumb: U8, std: F32, rows: Index) -> F32:
    """Whether a picture that is nearly gone still shows the detail of those before and after it, as a dark scene between two lights does.

    Args:
        t: (n,) seconds, increasing.
        thumb: (n, cells) thumbnails of luma.
        std: (n,) their deviations.
        rows: the frames asked for.

    Returns:
        For each of `rows` the lower of two correlations, with the frames of the largest deviation within SIDE_S before and after it, as
        far as they differ from it; NaN where the picture is not the flattest one near by.
    """
    out = np.full(len(rows), np.nan, np.float32)
    for k in np.flatnonzero(std[rows] <= FLAT):
        i = int(rows[k])
        first, left, right, stop = np.searchsorted(t, t[i] + np.array((-SIDE_S, -LOWEST_S, LOWEST_S, SIDE_S)))
        if std[i] <= std[left:right].min():
            before, after = first + int(std[first : i + 1].argmax()), i + int(std[i:stop].argmax())
            out[k] = np.fmin(same_detail(thumb[i], thumb[before]), same_detail(thumb[i], thumb[after]))
    return out


def same_detail(a: U8, b: U8) -> float:
    """Correlation of the detail of two thumbnails of luma in the cells that have changed, -1..1; NaN where too few have.

    Where nothing has changed, as in black bars and in what is put over the picture, nothing tells of the light.
    """
    x, y = (np.asarray(thumb.reshape(THUMB[1], THUMB[0]), np.float32) for thumb in (a, b))
    contrast = max(float(np.sqrt((x.var() + y.var()) / 2)), LEAST_CONTRAST)
    changed = (np.abs(x - y) > CHANGED * contrast).astype(np.float32)
    differs = np.asarray(cv2.erode(changed, np.ones((3, 3), np.uint8)), np.float32)
    if differs.mean() < LEAST_SHARE:
        return np.nan
    near = _mean_around(differs) + np.float32(1e-6)
    one, other = (_detail(picture, differs, near) for picture in (x, y))
    return float((one * other).sum() / max(float(np.sqrt((one * one).sum() * (other * other).sum())), 1e-3))


def likeness(a: U8, b: U8, shown: npt.NDArray[np.bool_]) -> F32:
    """Correlation of thumbnails of luma (n, cells) row by row over the cells that are shown, (n, cells)."""
    weight = (shown / shown.sum(1, keepdims=True)).astype(np.float32)
    x, y = a.astype(np.float32), b.astype(np.float32)
    x -= (x * weight).sum(1, keepdims=True)
    y -= (y * weight).sum(1, keepdims=True)
    std = np.sqrt((x * x * weight).sum(1) * (y * y * weight).sum(1))
    return np.asarray((x * y * weight).sum(1) / np.maximum(std, 1e-3), np.float32)


def _detail(picture: F32, weight: F32, near: F32) -> F32:
    """A picture (h, w) less the mean around each cell, in units of the deviation there; only cells of the weight 1, not 0, count."""
    rest = (picture - _mean_around(picture * weight) / near) * weight
    out = rest / np.sqrt(_mean_around(rest * rest) / near + np.float32(NOISE**2))
    return np.asarray((out - out.sum() / weight.sum()) * weight, np.float32)


def _mean_around(picture: F32) -> F32:
    return np.asarray(cv2.blur(picture, (AROUND, AROUND), borderType=cv2.BORDER_REFLECT), np.float32)
