"""Noise: sigma of the fine grain in the calmest parts of a frame."""

from __future__ import annotations

import math

import cv2
import numpy as np

from rushes.scan.levels import F32

KERNEL = np.array([1.0, -2.0, 1.0], np.float32)
"""Immerkaer's mask is this one across and down: blind to edges along the axes and to all slopes.

J. Immerkaer, "Fast Noise Variance Estimation", CVIU 64(2), 1996.
"""
KERNEL_NORM = 6.0
"""Root of the sum of squares of the 3 x 3 mask: by how much it raises the sigma of white noise."""
BLOCK = 16
CALM_SHARE = 10.0
"""Percentile of the blocks that is read: texture only raises a block, so the calmest blocks tell the noise."""
CALM_BIAS = 0.92
"""What the calmest tenth reads on Gaussian noise of sigma 1: 0.89 where every block is calm, 0.95 where one in three is (simulated)."""
CLIP_MARGINS = (32.0, 6.0)
"""Blocks whose mean is nearer to black or white than this are left out, since clipping hides their noise; the second where none is left."""


def noise_sigma(crops: F32) -> float:
    """Sigma of Gaussian noise in full-range 8-bit grey levels, >= 0; NaN when no block could be judged.

    Args:
        crops: (h, n, w) float32 grey levels at native resolution, see `crops.py`.

    The mean absolute response of Immerkaer's mask is taken block by block and the calmest tenth of the blocks is believed. Where two crops
    meet the mask reads across the joint; like texture, that only raises a block.
    """
    height, n, width = crops.shape
    sheet = np.ascontiguousarray(crops.reshape(height, n * width))
    response = np.abs(cv2.sepFilter2D(sheet, cv2.CV_32F, KERNEL, KERNEL))
    size = (n * width // BLOCK, height // BLOCK)
    grain, mean = (cv2.resize(a, size, interpolation=cv2.INTER_AREA).reshape(size[1], n, -1) for a in (response, sheet))
    for margin in CLIP_MARGINS:
        judged = grain[(mean > margin) & (mean < 255.0 - margin)]
        if judged.size:
            return float(np.percentile(judged, CALM_SHARE)) * math.sqrt(math.pi / 2) / (KERNEL_NORM * CALM_BIAS)
    return math.nan
