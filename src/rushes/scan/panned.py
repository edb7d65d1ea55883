"""How much of a second's change a move of the whole picture leaves over: nothing, where a still picture is panned and zoomed.

Slide shows move over photographs. There every part of the picture moves by one shift and zoom; where a camera moves, things do too, near
ones pass far ones, and noise is new in each frame. From one frame to the next that is hardly seen, since little moves at all; over a second
it is. So the moves between frames (`dx`, `dy`, `zoom`) are put together over a second, the picture from a second before is moved by that,
and what it still differs from the present one is compared with what it differed before.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.time_grid import cell_of
from rushes.media.views import U8
from rushes.scan.percentile import percentile

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

APART_S, FARTHEST_S = 1.0, 1.5
"""Least and largest time between the two pictures, seconds."""
PER_S = 2.0
"""Comparisons a second."""
FIT = 0.5
"""Least `motion_fit` of a move that is believed, as in measures/camera.py."""
MOVED = 0.008
"""Least move of a corner between the two pictures, diagonals: less is no pan, and its rest is that of rounding."""
COMMON = 0.3
"""Least share of the picture that both must show."""
BLOCK = 4
"""Side of a block, pixels."""
LEAST_CHANGE, LEAST_CONTRAST = 0.5, 4.0
"""Root-mean-square change and contrast are taken for no less than this, grey levels: without detail everything fits."""


class Panned:
    """The comparisons of a video, frame by frame."""

    def __init__(self) -> None:
        self._recent: tuple[F64, U8, F32] | None = None

    def take(self, t: F64, pictures: U8, moves: F32) -> F32:
        """Takes the next frames; gives (n, 3): rest, rest of the worst blocks, and seconds between the two pictures; NaN where there is no
        comparison.

        Args:
            t: (n,) seconds.
            pictures: (n, h, w) luma.
            moves: (n, 4) dx, dy in diagonals, zoom, and motion_fit, since the frame before.
        """
        rows, old = np.full((len(t), 3), np.nan, np.float32), 0
        if self._recent is not None:
            old = len(self._recent[0])
            before_t, before_pictures, before_moves = self._recent
            t, moves = np.concatenate((before_t, t)), np.concatenate((before_moves, moves))
            pictures = np.concatenate((before_pictures, pictures))
        begins = np.flatnonzero(np.diff([cell_of(at, PER_S) for at in t.tolist()]) > 0) + 1
        for i in begins[begins >= old].tolist():
            first = _earlier(t, i)
            since, steps = t[i] - t[first], moves[first + 1 : i + 1].astype(np.float64)
            if APART_S - 1e-6 <= since <= FARTHEST_S and (steps[:, 3] >= FIT).all():
                rest = _rest(pictures[first], pictures[i], steps)
                if rest is not None:
                    rows[i - old] = (*rest, since)
        kept = _earlier(t, len(t) - 1)
        self._recent = (t[kept:], pictures[kept:].copy(), moves[kept:])
        return rows


def _earlier(t: F64, i: int) -> int:
    """The frame that frame `i` is compared with: the last one `APART_S` before it, or the first of all."""
    return max(0, int(np.searchsorted(t, t[i] - APART_S + 1e-6, "right")) - 1)


def _rest(before: U8, after: U8, steps: F64) -> tuple[float, float] | None:
    """Of two pictures (h, w) and the k moves between them (k, 4): root-mean-square of what they differ once the first is moved, as a share
    of what they differ before; and what a twentieth of the blocks exceed, as a share of the contrast. None where too little moves, or too
    little is seen in both.
    """
    height, width = after.shape
    diagonal = float(np.hypot(height, width))
    scale, right, down = 1.0, 0.0, 0.0  # about the centre
    for dx, dy, zoom, _ in steps.tolist():
        scale, right, down = scale * (1 + zoom), right * (1 + zoom) + dx * diagonal, down * (1 + zoom) + dy * diagonal
    if np.hypot(right, down) + abs(scale - 1) * diagonal / 2 < MOVED * diagonal:
        return None
    x, y = (width - 1) / 2, (height - 1) / 2
    matrix = np.array([[scale, 0, x * (1 - scale) + right], [0, scale, y * (1 - scale) + down]])
    old, new = (cv2.GaussianBlur(one.astype(np.float32), (5, 5), 1) for one in (before, after))
    moved = cv2.warpAffine(old, matrix, (width, height), flags=cv2.INTER_CUBIC)
    seen = cv2.warpAffine(np.ones_like(after), matrix, (width, height), flags=cv2.INTER_NEAREST)
    both = cv2.erode(seen, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if both.mean() < COMMON:
        return None
    left = moved - new
    left -= left[both].mean()
    change = max(float(np.sqrt(((old - new)[both] ** 2).mean())), LEAST_CHANGE)
    rows, columns = height // BLOCK, width // BLOCK
    blocks = (rows, BLOCK, columns, BLOCK)
    cut = (slice(rows * BLOCK), slice(columns * BLOCK))
    whole = both[cut].reshape(blocks).all(axis=(1, 3))
    worst = percentile(np.abs(left[cut]).reshape(blocks).mean(axis=(1, 3))[whole], 95.0) if whole.any() else 0.0
    return float(np.sqrt((left[both] ** 2).mean())) / change, float(worst) / max(float(new[both].std()), LEAST_CONTRAST)
