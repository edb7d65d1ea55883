"""Finds where a dissolve starts and ends: it fits a ramp to how far each frame has gone from one shot to the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

POINTS = 48
"""Most frames in one fit: with 48 of them (48 / 2) squared ramps of 48 points are compared in about 0.3 ms."""


def thinned(n: int) -> npt.NDArray[np.intp]:
    """Indices from 0 up to `n`, evenly thinned to at most POINTS."""
    return np.unique(np.linspace(0, n - 1, min(POINTS, n)).round().astype(np.intp))


def progress(thumbs: F32, first: F32, last: F32) -> F64:
    """How far each frame lies on the straight line from `first` (0) to `last` (1): the projection of its thumbnail.

    Args:
        thumbs: (n, cells) thumbnails.
        first: (cells,) a frame before the transition.
        last: (cells,) a frame after it, not equal to `first`.
    """
    line = last - first
    return np.asarray((thumbs - first) @ line / max(float(line @ line), 1e-6), np.float64)


def fit_ramp(t: F64, alpha: F64, centre: float) -> tuple[float, float, float]:
    """(start, end, fit) of the least-squares ramp: flat, then linear from `start` to `end`, then flat.

    Args:
        t: (n,) increasing times in seconds; the work grows with n cubed.
        alpha: (n,) progress at those times.
        centre: a time inside the ramp; the start lies at or before it, the end after it.

    Returns:
        Times in the unit of `t`, and the share of the variance of `alpha` that the ramp explains, 0 to 1; all nan where a side has no frame
        or nothing rises.
    """
    starts, ends = t[t <= centre], t[t > centre]
    if not len(starts) or not len(ends):
        return np.nan, np.nan, np.nan
    s, e = (grid.ravel()[:, None] for grid in np.meshgrid(starts, ends, indexing="ij"))
    x = np.clip((t - s) / (e - s), 0.0, 1.0)
    x_mean = x.mean(1)
    y = alpha - alpha.mean()
    spread = np.maximum((x * x).mean(1) - x_mean**2, 1e-9)
    height = (x @ y) / len(t) / spread
    error = np.maximum((y @ y) / len(t) - height**2 * spread, 0.0)
    error[height <= 0] = np.inf
    best = int(np.argmin(error))
    if not np.isfinite(error[best]):
        return np.nan, np.nan, np.nan
    return float(s[best, 0]), float(e[best, 0]), 1.0 - float(error[best]) / max(float(y @ y) / len(t), 1e-12)
