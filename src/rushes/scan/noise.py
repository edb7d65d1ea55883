"""Noise: standard deviation of the fine grain, measured in the parts of a frame with the least detail."""

from __future__ import annotations

import math

import cv2
import numpy as np

from rushes.scan.levels import F32
from rushes.scan.percentile import percentile

KERNEL = np.array([1.0, -2.0, 1.0], np.float32)
"""Applied along rows and along columns, this is Immerkaer's mask, which gives 0 on edges along the axes and on all slopes.

J. Immerkaer, "Fast Noise Variance Estimation", CVIU 64(2), 1996.
"""
KERNEL_NORM = 6.0
"""Root of the sum of squares of the 3 x 3 mask: the factor by which it raises the sigma of white noise."""
BLOCK = 16
CALM_SHARE = 10.0
"""Percentile of the blocks' values that is taken: texture only raises a value, so the lowest ones are those of noise alone."""
CALM_BIAS = 0.92
"""Value at this percentile on Gaussian noise of sigma 1, by which the result is divided: 0.89 where no block has texture, 0.95 where two in
three have (simulated)."""
CLIP_MARGINS = (32.0, 6.0)
"""Blocks whose mean is nearer to black or white than the first value, grey levels, are left out, since clipping hides their noise. Where no
block is left, the second value is used."""


def noise_sigma(crops: F32) -> float:
    """Sigma of Gaussian noise in full-range 8-bit grey levels, >= 0; NaN where all blocks are too near to black or white.

    Args:
        crops: (h, n, w) float32 grey levels at native resolution, see `crops.py`.

    The mean absolute response of Immerkaer's mask is computed for each block, and the 10th percentile of the blocks is taken. Where two
    crops lie side by side the mask reads pixels of both; like texture, that only raises the value of a block.
    """
    height, n, width = crops.shape
    sheet = np.ascontiguousarray(crops.reshape(height, n * width))
    response = np.abs(cv2.sepFilter2D(sheet, cv2.CV_32F, KERNEL, KERNEL))
    size = (n * width // BLOCK, height // BLOCK)
    grain, mean = (cv2.resize(a, size, interpolation=cv2.INTER_AREA).reshape(size[1], n, -1) for a in (response, sheet))
    for margin in CLIP_MARGINS:
        judged = grain[(mean > margin) & (mean < 255.0 - margin)]
        if judged.size:
            return percentile(judged, CALM_SHARE) * math.sqrt(math.pi / 2) / (KERNEL_NORM * CALM_BIAS)
    return math.nan
