"""Blockiness: how much more often neighbouring blocks differ by a step at the codec's block borders than half a block away from them."""

from __future__ import annotations

import cv2
import numpy as np

from rushes.scan.levels import F32

SIDE = 8
"""Side of a block, pixels: transforms of JPEG, MPEG and H.264 are 8 px wide, macroblocks and those of VP8/9, HEVC and AV1 multiples of it.
Steps on a lattice of 16 px told nothing more: of clips that were encoded badly and well they put 69 % in the right order, these 97 %."""
EDGE = 2
"""Pixels left out at each side of a block, where in-loop filters smooth the step (H.264: 2, at strong borders 3)."""
STEP_LOW, STEP_HIGH = 7.5, 60.0
"""Lowest and highest step that counts, grey levels. Smaller ones are not seen: every codec leaves steps of a few codes in slow shading, at
any rate, so that old codecs at a good rate would be called blocky. A larger step is an edge of the scene."""
RATIO = 0.9
"""A step counts when it is at least this many times the luma range inside both blocks: in texture it is not seen."""


def _steps(high: F32, low: F32, shift: int) -> float:
    """Share of pairs that meet in a step with the lattice moved by `shift` px both ways, from the running maximum and minimum (h, n, w)."""
    centres = tuple(slice(shift + SIDE // 2, shift + (length - shift) // SIDE * SIDE, SIDE) for length in (high.shape[0], high.shape[2]))
    top, bottom = (extreme[centres[0], :, centres[1]] for extreme in (high, low))
    least = np.maximum(np.float32(RATIO) * (top - bottom), np.float32(STEP_LOW))
    middle = (top + bottom) / 2
    seen = pairs = 0
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[..., :-1], np.s_[..., 1:])):
        step = np.abs(middle[first] - middle[second])
        seen += int(np.count_nonzero((step >= least[first]) & (step >= least[second]) & (step < STEP_HIGH)))
        pairs += step.size
    return seen / pairs if pairs else 0.0


def blockiness(crops: F32) -> float:
    """Share of pairs of neighbouring blocks that meet in a visible step on the codec's grid, less that share half a block off it.

    Args:
        crops: (h, n, w) float32 grey levels at native resolution, see `crops.py`; each origin lies on a multiple of 16 px.

    In [-1, 1]. It is about 0 without block structure, since shading and real edges lie on the grid as often as off it. The constants were
    chosen on clips that were encoded badly and well by seven codecs: docs/calibration.md.
    """
    height, n, width = crops.shape
    sheet = crops.reshape(height, n * width)
    inside = np.ones((SIDE - 2 * EDGE,) * 2, np.uint8)
    high, low = (np.asarray(extreme(sheet, inside), np.float32).reshape(crops.shape) for extreme in (cv2.dilate, cv2.erode))
    return _steps(high, low, 0) - _steps(high, low, SIDE // 2)
