"""Sharpness and texture of a frame: how steep its edges are, and how much of its area has any."""

from __future__ import annotations

import math

import cv2
import numpy as np

from rushes.media.views import U8
from rushes.scan.levels import F32

LONG_SIDE = 320
"""Long side of the picture that is measured, pixels, so that all resolutions read alike. Shrinking also averages noise."""
BLOCK = 16
"""Block side in pixels: a twentieth of the long side, as wide as an edge blurred by sigma 5 at 640 px is."""
CONTRAST_MIN = 8.0
"""Least range of luma in a block for its edges to be measured, grey levels: less may be quantisation and noise."""
CONTRAST_PERCENTILE = 75.0
"""Edges are measured in the blocks above this percentile of contrast: the quarter with the most."""
STEEP_PERCENTILE = 75.0
"""The percentile of steepness over these blocks that is the result. A quarter of them in focus is enough, so that a picture with a blurred
background is not called blurred."""
BLOCKS_MIN = 4
"""Least number of blocks with contrast for a sharpness to be given."""
TEXTURE_SPAN = 20.0
"""Least range of luma in a block that counts as texture, grey levels: 8 % of the full range."""


def at_analysis_size(luma: U8) -> F32:
    """The luma codes (h, w) as float32 with a long side of 320 px, by area; smaller pictures keep their size."""
    scale = LONG_SIDE / max(luma.shape)
    codes = luma.astype(np.float32)  # before shrinking: in 8 bits a low-contrast edge would become steps by rounding
    return cv2.resize(codes, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else codes  # type: ignore[return-value]


def edges(small: F32) -> tuple[float, float]:
    """(sharpness, texture) of one frame.

    Args:
        small: (h, w) float32 full-range grey levels at `at_analysis_size`.

    sharpness: steepest step from one pixel to the next as a share of its block's luma range, at 320 px long side, upper quartile of the
    blocks with most contrast; in (0, 1], NaN when fewer than four blocks have contrast. It is one over the edge width of Marziliano et al.,
    "A no-reference perceptual blur metric", ICIP 2002; a ratio, so light and contrast cancel.
    texture: share of blocks that span at least 20 grey levels, in [0, 1].
    """
    down, across = small.shape[0] // BLOCK, small.shape[1] // BLOCK
    if down == 0 or across == 0:
        return math.nan, math.nan
    small = small[: down * BLOCK, : across * BLOCK]
    span = _block(small, np.maximum) - _block(small, np.minimum)
    judged = span >= max(CONTRAST_MIN, float(np.percentile(span, CONTRAST_PERCENTILE)))
    texture = float(np.mean(span >= TEXTURE_SPAN))
    if np.count_nonzero(judged) < BLOCKS_MIN:
        return math.nan, texture
    steep = _steepest(small)[judged] / span[judged]
    return float(np.percentile(steep, STEEP_PERCENTILE)), texture


def _steepest(image: F32) -> F32:
    """Largest step between neighbouring pixels, along either axis, inside each 16 x 16 block: (h / 16, w / 16)."""
    step = np.zeros_like(image)
    step[:, :-1] = cv2.absdiff(image[:, 1:], image[:, :-1])
    step[:, BLOCK - 1 :: BLOCK] = 0.0
    down = cv2.absdiff(image[1:], image[:-1])
    down[BLOCK - 1 :: BLOCK] = 0.0
    np.maximum(step[:-1], down, out=step[:-1])
    return _block(step, np.maximum)


def _block(image: F32, extreme: np.ufunc) -> F32:
    """Largest or smallest value of each 16 x 16 block: (h / 16, w / 16)."""
    height, width = image.shape
    rows = extreme.reduce(image.reshape(height // BLOCK, BLOCK, width), axis=1)
    out: F32 = extreme.reduce(rows.reshape(height // BLOCK, width // BLOCK, BLOCK), axis=2)
    return out
