"""Global motion of every frame: how the whole picture moved, grew and changed since the frame before.

Pictures are compared at half the size of the motion view (64 x 36 for 16:9): first a whole-pixel shift by phase correlation (`shift.py`),
then a linear fit of shift and zoom for the rest (`align.py`). All frames are compared, since a shaking camera changes direction several
times a second, which samples on a grid would miss.

A frame takes less time than one cv2.phaseCorrelate on the whole motion view (0.09 against 0.12 ms). The matrices are small, so BLAS must
run
in one thread: more threads would only wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.batch import Batch
from rushes.records import Column
from rushes.scan.align import U8, Aligner, Fit, Shifts, derive, halved, overlap
from rushes.scan.panned import APART_S, FARTHEST_S, Panned
from rushes.scan.shift import C64, F32, PhaseCorrelation

STEPS = 7
"""Signals that compare a frame with the one before; the others compare it with one a second before."""
ASTRAY_PX = 0.75
"""Step of the linear fit, pixels, up to which it is accurate to 1 %. After a longer step the fit is made again, starting from the nearest
whole-pixel shift."""


@dataclass(frozen=True, slots=True)
class _Pictures:
    """n pictures as they are compared: pixels (n, h, w), what `derive` gives of them, and their spectra."""

    pixels: U8
    planes: F32
    spectra: C64

    def last(self) -> _Pictures:
        return self.part(slice(-1, None)).copy()

    def copy(self) -> _Pictures:
        return _Pictures(self.pixels.copy(), self.planes.copy(), self.spectra.copy())

    def part(self, at: slice | npt.NDArray[np.intp]) -> _Pictures:
        return _Pictures(self.pixels[at], self.planes[:, at], self.spectra[at])

    def then(self, more: _Pictures) -> _Pictures:
        return _Pictures(
            np.concatenate((self.pixels, more.pixels)),
            np.concatenate((self.planes, more.planes), axis=1),
            np.concatenate((self.spectra, more.spectra)),
        )


class GlobalMotion:
    """Motion of each frame relative to the frame before; NaN for the first frame. Directions are those of the coded picture, before it is
    rotated upright.
    """

    columns: tuple[Column, ...] = (
        Column("dx", "float", "diagonal/frame", "content's move to the right since the frame before", None, None, "Bergen et al. 1992"),
        Column("dy", "float", "diagonal/frame", "content's move downwards since the frame before", None, None, "as dx"),
        Column("zoom", "float", "1/frame", "relative growth of the picture since the frame before; + is in", None, None, "as dx"),
        Column("motion_fit", "float", "1", "share of detail that dx, dy, zoom line up; low at cuts, on flats", 0.0, 1.0),
        Column("frame_diff", "float", "grey level", "mean absolute change of luma since the frame before", 0.0, 255.0),
        Column("block_diff", "float", "grey level", "the same over the block, 1/16 of the long side, that changed most", 0.0, 255.0),
        Column("kept_blocks", "float", "share", "of the blocks with detail that dx, dy, zoom line up; low at cuts", 0.0, 1.0),
        Column("pan_rest", "float", "1", "share of a second's change that a shift and zoom of all leaves", 0.0, None, "scan/panned.py"),
        Column("pan_block", "float", "of the contrast", "what it leaves in a twentieth of the picture", 0.0, None, "as pan_rest"),
        Column("pan_dt", "float", "s", "time from the frame compared with to this one", APART_S, FARTHEST_S),
    )

    def __init__(self) -> None:
        self._before: _Pictures | None = None
        self._panned = Panned()
        self._rows: list[F32] = []

    def push(self, batch: Batch) -> None:
        """Take the next frames."""
        pixels = halved(batch.motion)
        if self._before is None:
            self._aligner = Aligner(*pixels.shape[1:])
            self._phase = PhaseCorrelation(pixels.shape[2], pixels.shape[1])
        planes = derive(pixels)
        pictures = _Pictures(pixels, planes, self._phase.spectra(planes[0]))
        if self._before is not None:
            pictures = self._before.then(pictures)
        self._before = pictures.last()
        rows, n = np.full((len(pixels), STEPS), np.nan, np.float32), len(pictures.pixels) - 1
        if n:
            rows[-n:] = self._signals(pictures, None if batch.follows is None else batch.follows[-n:])
        self._rows.append(np.concatenate((rows, self._panned.take(batch.t, pixels, rows[:, :4])), axis=1))

    def finish(self) -> dict[str, F32]:
        """The signals, one value a frame."""
        table = np.concatenate(self._rows) if self._rows else np.empty((0, len(self.columns)), np.float32)
        return {column.name: table[:, i].copy() for i, column in enumerate(self.columns)}

    def _signals(self, pictures: _Pictures, follows: npt.NDArray[np.bool_] | None) -> F32:
        """The first STEPS signals of n pictures but the first, (n - 1, STEPS); NaN for those that do not follow the one before."""
        if follows is None:
            return self._compared(pictures.part(slice(None, -1)), pictures.part(slice(1, None)))
        table, at = np.full((len(follows), STEPS), np.nan, np.float32), np.flatnonzero(follows)
        if len(at):
            table[at] = self._compared(pictures.part(at), pictures.part(at + 1))
        return table

    def _compared(self, old: _Pictures, new: _Pictures) -> F32:
        """The first STEPS signals of pictures, each relative to one before it: (n, STEPS)."""
        fit = self._align(old, new)
        width = new.pixels.shape[2]
        change = cv2.absdiff(new.pixels.reshape(-1, width), old.pixels.reshape(-1, width)).reshape(new.pixels.shape)
        blocks = self._aligner.blocks(self._aligner.inner(change).astype(np.float32))
        diagonal = 2 * self._aligner.radius
        series = (*(fit.shift.T / diagonal), fit.zoom, fit.good, blocks.mean(axis=1), blocks.max(axis=1), fit.kept)
        return np.stack(series, axis=1).astype(np.float32)

    def _align(self, old: _Pictures, new: _Pictures) -> Fit:
        before, after = old.planes, new.planes
        start = _better_than_none(before[0], after[0], self._phase.shifts(old.spectra, new.spectra))
        fit = self._aligner.fit(before, after, start)
        astray = np.flatnonzero((np.abs(fit.shift - start) > ASTRAY_PX).any(axis=1))
        if len(astray):
            again = self._aligner.fit(before[:, astray], after[:, astray], np.rint(fit.shift[astray]).astype(np.int64))
            better = again.good > fit.good[astray]
            for name in ("shift", "zoom", "good", "kept"):
                getattr(fit, name)[astray[better]] = getattr(again, name)[better]
        return fit


def _better_than_none(before: F32, after: F32, shifts: Shifts) -> Shifts:
    """The shifts (n, 2) of pictures (n, h, w), set to zero where the shifted picture is no more like the next one than the unshifted is."""
    kept = shifts.copy()
    for i in np.flatnonzero(shifts.any(axis=1)):
        to, source = overlap(int(shifts[i, 0]), int(shifts[i, 1]), *before.shape[1:])
        seen = after[i][to]
        moved = cv2.norm(seen, before[i][source], cv2.NORM_L1) / seen.size
        if moved >= cv2.norm(after[i], before[i], cv2.NORM_L1) / after[i].size:
            kept[i] = 0
    return kept
