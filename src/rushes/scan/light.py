"""Luma and contrast of thumbnails, without the black bars above, below or beside the picture.

Bars are no part of the picture: with them the contrast would be that between picture and bars, and of a change of the picture only a share
would count. So each frame's luma, its deviation and the share of its cells that shows anything are those inside its bars.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rushes.media.views import THUMB, THUMB_SIZE, U8

F32 = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]

LEAST_CONTRAST = 4.0
"""Of two pictures, 8-bit levels: what differs by less is noise and rounding."""
FLAT = 2
"""The cells of a bar are at most so many levels above the darkest one of the thumbnail: black, whatever level it has, and coding noise."""
MOST = 0.75
"""Where bars would be more than this share of a picture, it is dark, and has none."""


@dataclass(frozen=True, slots=True)
class Light:
    """Of n thumbnails, inside their bars: the mean luma and its standard deviation, 8-bit levels, and the share of cells; (n,) each."""

    mean: F32
    std: F32
    share: F32

    @classmethod
    def of(cls, thumbs: U8) -> Light:
        """That of thumbnails (n, cells)."""
        luma, bars = thumbs.astype(np.float32), in_bars(thumbs)
        mean, std, share = luma.mean(1), luma.std(1), np.ones(len(luma), np.float32)
        for i in np.flatnonzero(bars.any(1)):
            seen = luma[i][~bars[i]]
            mean[i], std[i], share[i] = seen.mean(), seen.std(), len(seen) / THUMB_SIZE
        return cls(mean, std, share)

    def then(self, more: Light) -> Light:
        """These thumbnails and those that follow them."""
        return Light(*(np.concatenate((getattr(self, name), getattr(more, name))) for name in ("mean", "std", "share")))

    def after(self, n: int) -> Light:
        """All but the first `n`."""
        return Light(self.mean[n:], self.std[n:], self.share[n:])

    def contrast(self, a: Index, b: Index) -> F32:
        """Contrast of the thumbnails `a` and `b`, pair by pair, 8-bit levels: the root mean square of their deviations."""
        return np.asarray(np.maximum(np.sqrt((self.std[a] ** 2 + self.std[b] ** 2) / 2), LEAST_CONTRAST))

    def spread(self, a: Index, b: Index) -> F32:
        """The mean over all cells of a change by the contrast in those that one of two thumbnails shows, pair by pair, 8-bit levels: what
        mean changes are shares of.
        """
        return np.asarray(self.contrast(a, b) * np.maximum(self.share[a], self.share[b]))

    def shown(self, thumbs: U8, a: Index, b: Index) -> npt.NDArray[np.bool_]:
        """(k, cells) of k pairs `a` and `b` of these thumbnails (n, cells): the cells that lie in the bars of one of the two at most."""
        out = np.ones((len(a), THUMB_SIZE), np.bool_)
        barred = np.flatnonzero((self.share[a] < 1) & (self.share[b] < 1))
        if len(barred):
            out[barred] = ~(in_bars(thumbs[a[barred]]) & in_bars(thumbs[b[barred]]))
        return out


def in_bars(thumbs: U8) -> npt.NDArray[np.bool_]:
    """(n, cells) the cells of thumbnails (n, cells) that lie in bars: in rows at the top and the bottom, or columns at the sides, that are
    all black.
    """
    pictures = thumbs.reshape(-1, THUMB[1], THUMB[0])
    black = pictures <= np.minimum(pictures.min((1, 2)), 255 - FLAT)[:, None, None] + np.uint8(FLAT)
    bars = _from_both_ends(black.all(2))[:, :, None] | _from_both_ends(black.all(1))[:, None, :]
    bars[bars.mean((1, 2)) > MOST] = False
    return bars.reshape(-1, THUMB_SIZE)


def _from_both_ends(lines: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Of lines (n, k) those that are true, and so are all between them and an end."""
    first, last = (np.logical_and.accumulate(part, axis=1) for part in (lines, lines[:, ::-1]))
    return np.asarray(first | last[:, ::-1])
