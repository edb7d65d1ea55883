"""Aligns neighbouring pictures to a fraction of a pixel: shift and zoom by robust least squares, for many pairs at once.

The brightness equations (Lucas and Kanade 1981; shift and scale as one model: Bergen et al. 1992) are first summed over small blocks.
Blocks that do not fit the rest get a low weight, so that an object that moves before a still background is not taken for a camera move.
With blocks that is done on some hundred values instead of on all pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rushes.scan.shift import F32

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]
Shifts = npt.NDArray[np.int64]

SMOOTH = np.array([0.037659, 0.249153, 0.426375, 0.249153, 0.037659], np.float32)
DERIVATIVE = np.array([-0.109604, -0.276691, 0.0, 0.276691, 0.109604], np.float32)
"""Smoothing and derivative matched to each other, 5 taps (Farid and Simoncelli 2004, "Differentiation of discrete multidimensional
signals", table II). Central differences read a shrunk picture's gradient 15 % low and so its motion 18 % high."""
HALVE_FROM = 32
"""Short side of the motion view, pixels, from which it is halved; smaller ones are compared as they are."""
BLOCK = 4
"""Side of a block, pixels: small enough that an object on a tenth of the picture does not touch most blocks."""
MARGIN = 2
"""Pixels cut at each edge: half the filters' length."""
ROUNDS = 3
"""Rounds of weighting; on footage with moving objects the estimate changes by less than 0.01 pixel after the third."""
NOISE = 0.05
"""Gradient energy, squared grey levels a pixel, that rounding to 8 bits leaves on a flat picture."""
LEAST_DETAIL = 0.5
"""Gradient energy from which a block has detail, squared grey levels a pixel: ten times that of rounding."""
MISFIT_PX = 0.03
"""Misalignment up to which a block keeps its full weight, pixels: shrinking and coding cause so much even on a perfect pan."""
COMBINED = np.subtract, np.add, np.add
"""How two pictures as `derive` gives them make the change and twice the gradient's mean."""
FARTHEST_PX = 2.0
"""Longest step that the linear fit may give, pixels: the filters do not cover more."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How n pictures differ from those before.

    Attributes:
        shift: (n, 2) pixels, x right and y down.
        zoom: (n,) relative.
        good: (n,) share of the detail that the two line up, 0..1.
        kept: (n,) share of the blocks with detail that they line up, 0..1; 0 where no block has any.
    """

    shift: F64
    zoom: F64
    good: F64
    kept: F64


def halved(motion: U8) -> U8:
    """Motion views (n, h, w) at half size by area, where they are large enough."""
    n, height, width = motion.shape
    if min(height, width) < HALVE_FROM:
        return motion
    rows, columns = height // 2, width // 2
    tall = np.ascontiguousarray(motion[:, : 2 * rows, : 2 * columns]).reshape(-1, 2 * columns)
    return cv2.resize(tall, (columns, n * rows), interpolation=cv2.INTER_AREA).reshape(n, rows, columns)  # type: ignore[return-value]


def derive(pictures: U8) -> F32:
    """Smoothed picture, x gradient and y gradient of each picture (n, h, w), as (3, n, h, w).

    All pictures are filtered as one tall one, each between its own rows mirrored, so that none reads its neighbour's.
    """
    n, height, width = pictures.shape
    mirrored = [*range(MARGIN, 0, -1), *range(height), *range(height - 2, height - 2 - MARGIN, -1)]  # as OpenCV's BORDER_REFLECT_101
    tall = np.take(pictures, mirrored, axis=1).reshape(-1, width)
    kernels = ((SMOOTH, SMOOTH), (DERIVATIVE, SMOOTH), (SMOOTH, DERIVATIVE))
    filtered = (cv2.sepFilter2D(tall, cv2.CV_32F, kx, ky).reshape(n, -1, width) for kx, ky in kernels)
    return np.stack([planes[:, MARGIN:-MARGIN] for planes in filtered])


def overlap(dx: int, dy: int, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The area that a picture and the same picture moved by (dx, dy) whole pixels have in common, less `MARGIN` at each side: its slices in
    the second one, and in the first.
    """
    top, bottom = max(dy, 0) + MARGIN, height + min(dy, 0) - MARGIN
    left, right = max(dx, 0) + MARGIN, width + min(dx, 0) - MARGIN
    return (slice(top, bottom), slice(left, right)), (slice(top - dy, bottom - dy), slice(left - dx, right - dx))


class Aligner:
    """Aligns pictures of one size, `height` x `width` pixels, at least 8 x 8."""

    def __init__(self, height: int, width: int) -> None:
        rows, columns = (height - 2 * MARGIN) // BLOCK, (width - 2 * MARGIN) // BLOCK
        top, left = (height - rows * BLOCK) // 2, (width - columns * BLOCK) // 2
        self._grid = (columns, rows)
        self._inner = (slice(None), slice(top, top + rows * BLOCK), slice(left, left + columns * BLOCK))
        self.radius = float(np.hypot(width, height)) / 2
        """Half the diagonal, pixels."""
        x = (np.arange(columns) + 0.5) * BLOCK + left - width / 2
        y = (np.arange(rows) + 0.5) * BLOCK + top - height / 2
        self._x = (np.tile(x, rows) / self.radius).astype(np.float32)
        self._y = (np.repeat(y, columns) / self.radius).astype(np.float32)

    def inner(self, pictures: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(n, h, w) pictures without their margin."""
        return np.ascontiguousarray(pictures[self._inner])

    def blocks(self, inner: F32) -> F32:
        """Block means of n pictures without their margin, (n, blocks)."""
        columns, rows = self._grid
        tall = inner.reshape(-1, columns * BLOCK)
        pooled: F32 = cv2.resize(tall, (columns, len(tall) // BLOCK), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        return pooled.reshape(-1, rows * columns)

    def fit(self, before: F32, after: F32, start: Shifts) -> Fit:
        """Shift and zoom between pictures as `derive` gives them, (3, n, h, w), starting from whole-pixel shifts (n, 2)."""
        xx, xy, yy, xt, yt, tt = self._equations(before, after, start)
        x, y = self._x, self._y
        detail = xx + yy
        energy = detail + np.float32(NOISE) + np.float32(0.1) * detail.mean(axis=1, keepdims=True)
        left_side = np.stack((xx, xy, xx * x + xy * y, yy, xy * x + yy * y, xx * x * x + 2 * xy * x * y + yy * y * y))
        right_side = np.stack((xt, yt, xt * x + yt * y))
        weight = 1 / energy
        for _ in range(ROUNDS):
            model = _solve((left_side * weight).sum(axis=2).T, (right_side * weight).sum(axis=2).T)
            u, v = model[:, :1] + model[:, 2:] * x, model[:, 1:2] + model[:, 2:] * y
            unexplained = np.maximum(tt + 2 * (u * xt + v * yt) + u * u * xx + 2 * u * v * xy + v * v * yy, 0)
            misfit = unexplained / energy
            usual = np.maximum(medians(misfit), np.float32(MISFIT_PX**2))
            weight = (1 + misfit / (4 * usual)) ** -2 / energy
        explained = detail * detail / (detail + unexplained + np.float32(NOISE))
        good = explained.sum(axis=1) / (detail.sum(axis=1) + np.float32(NOISE))
        detailed = detail >= np.float32(LEAST_DETAIL)
        kept = (detailed & (2 * explained >= detail)).sum(axis=1) / np.maximum(detailed.sum(axis=1), 1)
        shift, zoom = model[:, :2].astype(np.float64) + start, model[:, 2].astype(np.float64) / self.radius
        return Fit(shift, zoom, good.astype(np.float64), kept)

    def _equations(self, before: F32, after: F32, start: Shifts) -> list[F32]:
        """Block means of gradient and change, each (n, blocks): xx, xy, yy, xt, yt, tt. The gradient is the mean of both pictures'.

        `before` is moved by `start` first; where it then does not cover the frame the products are zero.
        """
        inner_before, inner_after = (pictures[:, *self._inner] for pictures in (before, after))
        change, gx, gy = combined = [combine(inner_after[k], inner_before[k]) for k, combine in enumerate(COMBINED)]
        for i in np.flatnonzero(start.any(axis=1)):
            to, source = overlap(int(start[i, 0]), int(start[i, 1]), *before.shape[2:])
            for k, combine in enumerate(COMBINED):
                whole = np.zeros(before.shape[2:], np.float32)
                whole[to] = combine(after[k, i][to], before[k, i][source])
                combined[k][i] = whole[self._inner[1:]]
        xx, xy, yy, xt, yt, tt = map(self.blocks, (gx * gx, gx * gy, gy * gy, gx * change, gy * change, change * change))
        quarter, half = np.float32(0.25), np.float32(0.5)
        return [xx * quarter, xy * quarter, yy * quarter, xt * half, yt * half, tt]


def medians(values: F32) -> F32:
    """The median of each row (n, k), as (n, 1): what np.median gives, in a tenth of its time, since short rows are sorted by vectors."""
    n = values.shape[1]
    middle: F32 = np.sort(values, axis=1)[:, (n - 1) // 2 : n // 2 + 1].mean(axis=1, keepdims=True)
    return middle


def _solve(triangle: F32, right: F32) -> F32:
    """Solutions (n, 3) of n symmetric systems given as upper triangles (n, 6); a small value added to the diagonal makes the
    solution 0 for a picture without detail.
    """
    full = triangle[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    full[:, [0, 1, 2], [0, 1, 2]] += np.float32(1e-4) * triangle[:, [0, 3]].sum(axis=1, keepdims=True) + np.float32(0.02)
    model: F32 = np.linalg.solve(full, -right[:, :, None])[:, :, 0]
    return np.clip(model, -FARTHEST_PX, FARTHEST_PX)
