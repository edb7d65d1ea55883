"""Blockiness: how much more often neighbouring blocks differ by a step at the codec's block borders than half a block away from them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rushes.scan.levels import F32

STEP_LOW, STEP_HIGH = 2.25, 30.0
"""Lowest and highest step that counts, grey levels. A difference of one code of studio range, which rounding makes, is 1.16; two codes are
2.33 and count. A larger step is an edge of the scene."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """A size of blocks, and the constants by which steps between blocks of this size are counted.

    Attributes:
        side: pixels.
        edge: pixels left out at each side of a block, where in-loop filters smooth the step (H.264: 2, at strong borders 3).
        ratio: a step counts when it is at least this many times the luma range inside both blocks; larger blocks hold more.
    """

    side: int
    edge: int
    ratio: float


LATTICES = (Lattice(8, 2, 1.5), Lattice(16, 3, 1.0))
"""Transforms of JPEG, MPEG and H.264 are 8 px wide; macroblocks and the common transforms of VP8/9, HEVC and AV1 are 16 px or multiples.

Ratios were chosen on re-encodings at crf 45 against their clean sources: `docs/calibration.md`.
"""


def _excess(crops: F32, lattice: Lattice) -> float:
    """Share of neighbouring block pairs that meet in a step on the lattice, less that share half a block off it."""
    height, n, width = crops.shape
    sheet = crops.reshape(height, n * width)
    inside = np.ones((lattice.side - 2 * lattice.edge,) * 2, np.uint8)
    high, low = (np.asarray(extreme(sheet, inside), np.float32).reshape(crops.shape) for extreme in (cv2.dilate, cv2.erode))
    return _steps(high, low, lattice, 0) - _steps(high, low, lattice, lattice.side // 2)


def _steps(high: F32, low: F32, lattice: Lattice, shift: int) -> float:
    """Share of pairs that meet in a step with the lattice moved by `shift` px both ways, from the running maximum and minimum (h, n, w)."""
    side = lattice.side
    centres = tuple(slice(shift + side // 2, shift + (length - shift) // side * side, side) for length in (high.shape[0], high.shape[2]))
    top, bottom = (extreme[centres[0], :, centres[1]] for extreme in (high, low))
    least = np.maximum(np.float32(lattice.ratio) * (top - bottom), np.float32(STEP_LOW))
    middle = (top + bottom) / 2
    seen = pairs = 0
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[..., :-1], np.s_[..., 1:])):
        step = np.abs(middle[first] - middle[second])
        seen += int(np.count_nonzero((step >= least[first]) & (step >= least[second]) & (step < STEP_HIGH)))
        pairs += step.size
    return seen / pairs if pairs else 0.0


def blockiness(crops: F32) -> float:
    """Share of block pairs that meet in a step on the codec's grid, less that share half a block off it: mean over 8 and 16 px blocks.

    Args:
        crops: (h, n, w) float32 grey levels at native resolution, see `crops.py`; each origin lies on a multiple of 16 px.

    In [-1, 1]. It is about 0 without block structure, since shading and real edges lie on the grid as often as off it.
    """
    return sum(_excess(crops, lattice) for lattice in LATTICES) / len(LATTICES)
