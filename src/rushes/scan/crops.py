"""Cuts a few crops out of a frame at native resolution, aligned to the codec's blocks, to measure noise and blocks, which shrinking
removes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.scan.levels import F32, levels

CROP = 96
"""Side of a crop in pixels: six macroblocks. Nine of them cost the same at every resolution."""
MACROBLOCK = 16
"""Crops begin on multiples of this, so that 8-pixel and 16-pixel block borders lie at known places."""


def _starts(length: int) -> tuple[list[int], int]:
    """First pixels of the crops along an axis, evenly spread, and their length: three, or a single one of all of a shorter axis."""
    if length < 3 * CROP:
        return [0], length // MACROBLOCK * MACROBLOCK
    gap = (length - 3 * CROP) / 4
    return [int(gap * (i + 1) + CROP * i) // MACROBLOCK * MACROBLOCK for i in range(3)], CROP


def crops(native: npt.NDArray[Any], *, full_range: bool, bits: int, interlaced: bool) -> F32 | None:
    """(h, n, w) float32 full-range grey levels: n crops side by side, h and w multiples of 16. They are 3 x 3 of 96 x 96 px; along an axis
    shorter than 288 px there is one crop, of all of it, since the fewer blocks a picture has the more it takes to judge it.

    Args:
        native: (H, W) uint8 or uint16 luma plane.
        full_range: codes run 0..255 (or 0..2^bits - 1) instead of studio range.
        bits: bit depth of the codes.
        interlaced: take one field only, since neighbouring lines belong to two moments.

    None for a frame smaller than one macroblock.
    """
    plane = native[::2] if interlaced else native
    if min(plane.shape) < MACROBLOCK:
        return None
    rows, height = _starts(plane.shape[0])
    columns, width = _starts(plane.shape[1])
    stack = np.stack([plane[y : y + height, x : x + width] for y in rows for x in columns], axis=1)
    return levels(stack, full_range=full_range, bits=bits)
