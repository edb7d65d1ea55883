"""Sharpness and texture of a frame: how steep its edges are, and how much of its area has any.

A display that is drawn over the picture (a clock, a name, a pilot's instruments) is crisp even where the picture is blurred. So edges that
are drawn, do not move while the rest of the picture does, and are much steeper than all others are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.views import U8
from rushes.scan.levels import F32
from rushes.scan.percentile import percentile

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
APART_S = 1.5
"""Longest time between two frames that are compared, seconds: less than what a scan of a part of a video reads before that part."""
STILL = 0.1
"""A block is still where its pixels change by less than this share of its range of luma, in the mean ..."""
DRAWN_SPAN = 100.0
"""... and it may be drawn where its range is at least this, grey levels: displays are made to be read on any background."""
MOVING_MIN = 1.0 / 3.0
"""Share of the blocks with contrast that must change for the still ones to tell anything."""
SOFTER = 0.6
"""What is drawn is left out where the rest is less sharp than this share of the whole."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of one frame.

    Attributes:
        t: seconds since the video's first frame.
        picture: (h, w) grey levels in 8 bits, cut to whole blocks; what other frames are compared with.
        span: (h / 16, w / 16) range of luma in each block.
        steepest: likewise, the largest step between neighbouring pixels in it.
    """

    t: float
    picture: U8
    span: F32
    steepest: F32

    def texture(self) -> float:
        """Share of blocks that span at least 20 grey levels, in [0, 1]; NaN where the frame is smaller than a block."""
        return float(np.mean(self.span >= TEXTURE_SPAN)) if self.span.size else math.nan

    def sharpness(self) -> float:
        """Steepest step from one pixel to the next as a share of its block's luma range, at 320 px long side, upper quartile of the blocks
        with most contrast; in (0, 1], NaN when fewer than four blocks have contrast.

        It is one over the edge width of Marziliano et al., "A no-reference perceptual blur metric", ICIP 2002; a ratio, so light and
        contrast cancel.
        """
        return _steepness(self.span.ravel(), self.steepest.ravel())

    def below_display(self, other: Edges) -> float:
        """The sharpness without what another frame, measured before or after this one, shows to be drawn over the picture; NaN where
        nothing is, or the rest is about as sharp as the whole, or the frame is smaller than a block.
        """
        if abs(self.t - other.t) > APART_S or other.picture.shape != self.picture.shape or not self.span.size:
            return math.nan
        drawn = self._drawn(other)
        rest = _steepness(self.span[~drawn], self.steepest[~drawn]) if drawn.any() else math.nan
        return rest if rest < SOFTER * self.sharpness() else math.nan

    def _drawn(self, other: Edges) -> npt.NDArray[np.bool_]:
        """The blocks of a display over the picture, and those beside them; none where too little moves to tell."""
        change = cv2.absdiff(self.picture, other.picture)
        moved = cv2.resize(change, self.span.shape[::-1], interpolation=cv2.INTER_AREA) > STILL * self.span
        contrast = self.span >= CONTRAST_MIN
        if np.count_nonzero(moved & contrast) < max(BLOCKS_MIN, MOVING_MIN * np.count_nonzero(contrast)):
            return np.zeros(self.span.shape, np.bool_)
        drawn = (self.span >= DRAWN_SPAN) & ~moved
        return cv2.dilate(drawn.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _steepness(span: F32, steepest: F32) -> float:
    """Upper quartile of the steepness of those of some blocks (n,) that have most contrast; NaN where too few have any."""
    if span.size < BLOCKS_MIN:
        return math.nan
    judged = span >= max(CONTRAST_MIN, percentile(span, CONTRAST_PERCENTILE))
    if np.count_nonzero(judged) < BLOCKS_MIN:
        return math.nan
    return percentile(steepest[judged] / span[judged], STEEP_PERCENTILE)


def at_analysis_size(luma: U8) -> F32:
    """The luma codes (h, w) as float32 with a long side of 320 px, by area; smaller pictures keep their size."""
    scale = LONG_SIDE / max(luma.shape)
    codes = luma.astype(np.float32)  # before shrinking: in 8 bits a low-contrast edge would become steps by rounding
    return cv2.resize(codes, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else codes  # type: ignore[return-value]


def edges(small: F32, t: float = 0.0) -> Edges:
    """The edges of one frame.

    Args:
        small: (h, w) float32 full-range grey levels at `at_analysis_size`.
        t: seconds since the video's first frame.
    """
    down, across = small.shape[0] // BLOCK, small.shape[1] // BLOCK
    small = small[: down * BLOCK, : across * BLOCK]
    if not small.size:
        none = np.empty((0, 0), np.float32)
        return Edges(t, none.astype(np.uint8), none, none)
    span = _block(small, np.maximum) - _block(small, np.minimum)
    return Edges(t, np.clip(np.rint(small), 0, 255).astype(np.uint8), span, _steepest(small))


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
