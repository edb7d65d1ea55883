"""Exposure of every frame: its mean light, its contrast, and how much of it is black or white beyond detail."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.batch import Batch
from rushes.records import Column
from rushes.scan.levels import STUDIO_BLACK, STUDIO_SPAN

DARK_LEVEL = 32.0
"""Grey level below which a pixel counts as dark: an eighth of the range, 1.4 % of white in linear light (sRGB, IEC 61966-2-1)."""
CLIPPED_LEVEL = 250.0
"""Grey level from which a pixel counts as clipped: within 2 % of white, so that shrinking and coding noise do not hide it."""

GAIN = 255.0 / STUDIO_SPAN
SOURCE = "mean, spread and shares of the luma histogram on the motion view (long side 128 px)"


def _code(level: float) -> int:
    """Smallest studio code whose grey level is at least `level`."""
    return int(np.ceil(level / GAIN + STUDIO_BLACK))


class Exposure:
    """Four signals of every frame, from the motion view. With `hdr` (PQ, HLG) the two shares are NaN, since black and white have other
    codes there.

    Mean and spread are computed for HDR too, from the same codes. They can be compared between HDR frames, but not with those of SDR.
    """

    columns: tuple[Column, ...] = (
        Column("luma_mean", "float", "grey level", "mean luma", 0.0, 255.0, SOURCE),
        Column("luma_std", "float", "grey level", "standard deviation of luma over the frame", 0.0, 127.5, SOURCE),
        Column("luma_dark", "float", "share", f"share of pixels below grey level {DARK_LEVEL:g}; null for HDR", 0.0, 1.0, SOURCE),
        Column("luma_clipped", "float", "share", f"share of pixels from grey level {CLIPPED_LEVEL:g} up; null for HDR", 0.0, 1.0, SOURCE),
    )

    def __init__(self, *, hdr: bool) -> None:
        self._hdr = hdr
        self._parts: list[npt.NDArray[np.float32]] = []

    def push(self, batch: Batch) -> None:
        """Take the next frames."""
        n, dark, clipped = len(batch.motion), _code(DARK_LEVEL), _code(CLIPPED_LEVEL)
        rows, pixels = np.empty((n, 4), np.float32), batch.motion.reshape(n, -1)
        for row, luma in zip(rows, batch.motion, strict=True):
            mean, spread = cv2.meanStdDev(luma)
            row[0], row[1] = (mean[0, 0] - STUDIO_BLACK) * GAIN, spread[0, 0] * GAIN
        for k, level, kind in ((2, dark - 1, cv2.THRESH_BINARY_INV), (3, clipped - 1, cv2.THRESH_BINARY)):
            counted = cv2.threshold(pixels, level, 1, kind)[1]
            rows[:, k] = cv2.reduce(counted, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] / pixels.shape[1]
        np.clip(rows[:, 0], 0.0, 255.0, out=rows[:, 0])
        if self._hdr:
            rows[:, 2:] = np.nan
        self._parts.append(rows)

    def finish(self) -> dict[str, npt.NDArray[np.float32]]:
        """The signals of all frames pushed."""
        table = np.concatenate(self._parts) if self._parts else np.empty((0, 4), np.float32)
        return {column.name: np.ascontiguousarray(table[:, i]) for i, column in enumerate(self.columns)}
