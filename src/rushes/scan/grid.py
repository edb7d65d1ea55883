"""The grid meter: what is measured on a grid in time (`scan.grid_per_s`, once a second by default) rather than on every frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rushes.media.views import Views
from rushes.records import Column
from rushes.scan.blocks import blockiness
from rushes.scan.crops import crops
from rushes.scan.letterbox import letterbox
from rushes.scan.levels import levels
from rushes.scan.noise import noise_sigma
from rushes.scan.sharpness import Edges, at_analysis_size, edges

SOURCE = "scan/sharpness.py"
AFTER = 2
"""Place of `sharpness_after` among the columns."""


class Grid:
    """Sharpness, texture and letterbox from the luma at 320 px, noise and blockiness from native crops; NaN off the grid.

    Noise and blockiness are also NaN for RGB and packed formats, which have no luma plane to crop.
    """

    columns: tuple[Column, ...] = (
        Column("sharpness", "float", "1/pixel at 320 px", "steepest step as a share of local contrast", 0.0, 1.0, "Marziliano et al. 2002"),
        Column(
            "sharpness_before", "float", "1/pixel at 320 px", "without a display over the picture, by the sample before", 0.0, 1.0, SOURCE
        ),
        Column("sharpness_after", "float", "1/pixel at 320 px", "the same, by the sample after", 0.0, 1.0, SOURCE),
        Column("texture", "float", "share", "share of 16 px blocks (at 320 px) that span 20 grey levels", 0.0, 1.0, "scan/sharpness.py"),
        Column("letterbox", "float", "share", "share of the frame in black bars", 0.0, 1.0, "FFmpeg cropdetect"),
        Column("noise", "float", "grey level", "sigma of the grain in the calmest blocks", 0.0, None, "Immerkaer 1996"),
        Column(
            "blockiness", "float", "share", "codec blocks that meet in a visible step, less those off the grid", -1.0, 1.0, "scan/blocks.py"
        ),
    )

    def __init__(self, per_s: float = 1.0) -> None:
        """`per_s`: frames a second to measure."""
        self.per_s: float | None = per_s
        self._n = 0
        self._at: list[int] = []
        self._rows: list[list[float]] = []
        self._before: Edges | None = None
        self._first: list[Edges] = []

    def push(self, views: Views, on_grid: bool) -> None:
        """Take the next frame; it is measured where `on_grid`, else only counted."""
        if on_grid:
            self._measure(views, self._n)
        self._n += 1

    def measure_late(self, views: Views, row: int) -> None:
        """Measures an earlier frame, `row`, the last one that was sound: it turned out to be shown where a cell of the grid begins."""
        self._measure(views, row)

    def restart(self) -> None:
        """Says that the next frame is compared with none of those before it."""
        self._before = None

    def ends(self) -> tuple[Edges, ...]:
        """The edges of the first two frames that were measured, or fewer, and those of the last one: what it takes to compare them with the
        frames of other segments.
        """
        last = self._before
        return (*self._first, last) if last is not None else ()

    def finish(self) -> dict[str, npt.NDArray[np.float32]]:
        """The signals of all frames pushed."""
        table = np.full((len(self.columns), self._n), np.nan, np.float32)
        if self._rows:
            table[:, self._at] = np.array(self._rows, np.float32).T
        return {column.name: row for column, row in zip(self.columns, table, strict=True)}

    def _measure(self, views: Views, row: int) -> None:
        """One value a column, in their order."""
        luma = levels(at_analysis_size(views.luma), full_range=views.luma_full_range)
        seen = edges(luma, views.t)
        noise = blocky = math.nan
        if views.native is not None:
            interlaced = bool(views.frame.interlaced_frame)
            samples = crops(views.native, full_range=views.full_range, bits=views.bits, interlaced=interlaced)
            if samples is not None:
                noise, blocky = noise_sigma(samples), blockiness(samples)
        self._at.append(row)
        before = self._before
        if before is not None:
            self._rows[-1][AFTER] = before.below_display(seen)
        below = math.nan if before is None else seen.below_display(before)
        self._rows.append([seen.sharpness(), below, math.nan, seen.texture(), letterbox(luma), noise, blocky])
        if len(self._first) < 2:
            self._first.append(seen)
        self._before = seen
