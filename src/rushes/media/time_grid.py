"""Grids in time: which frames of a video are measured or stored a few times a second."""

from __future__ import annotations

import math
from dataclasses import dataclass

FLOW_PER_S = 2.0
"""Samples a second of dense motion, as many as Data-Juicer's motion filter takes; a clip of 4 s has eight."""
HELD_DT_S = 0.08
"""A picture that was held changes within this time, seconds: two frames at 25 a second, over which dense motion compares pictures there."""
PAUSE_S = 0.1
"""A picture shown for longer than this, seconds, is the sample of every point of the grid at which it is shown. Else the sample is the
first frame from the point on, which is within this time of it."""

LONG_S = 0.3
"""Shown for long is a picture that is shown for more than this, seconds: more than between the frames that fast mode decodes."""


def cell_of(t: float, per_s: float) -> int:
    """The cell in which `t` seconds lie. A pts that rounding put just before a point of the grid counts as on it."""
    return math.floor(t * per_s + 1e-6)


def cell_before(t: float, per_s: float) -> int:
    """The last cell that begins before `t` seconds."""
    return math.ceil(t * per_s - 1e-6) - 1


def is_long(shown_s: float) -> bool:
    """Whether a picture is shown for longer than `LONG_S`, seconds, by more than rounding."""
    return shown_s > LONG_S + 1e-6


@dataclass(frozen=True, slots=True)
class Pick:
    """What a frame that comes decides: whether it is a sample, and `before`, the earlier frame that is one after all; None: none is."""

    now: bool
    before: int | None


class TimeGrid:
    """A grid in time that begins at the video's first pts and divides it into cells of equal length. It picks the sample of each cell: the
    first frame from its beginning on, or the frame that is shown there, if that is shown for longer than `PAUSE_S`.

    Args:
        per_s: cells a second.
        shown: whether frames are picked that are shown where a cell begins. Else the first frame of each cell is, whenever it comes, and
            so is a frame that changes a picture shown for longer than `LONG_S`, if a cell begins within `HELD_DT_S` after it.

    Attributes:
        rows: the frames that were picked, as indices that count all frames offered, increasing.
        first, last: the cells of the first and the last frame that was picked; -1: none yet.
        again: whether the first frame is a sample even if its own cell has another: because it is shown where a later cell begins; or, if
            not `shown`, because one begins soon after it, provided that the picture before was shown for long.
    """

    def __init__(self, per_s: float, *, shown: bool = True) -> None:
        self._per_s = per_s
        self._shown = shown
        self.rows: list[int] = []
        self.first = self.last = -1
        self.again = False
        self._before: tuple[float, int] | None = None

    def after(self, t: float) -> None:
        """Says that a frame at `t` seconds, and frames before it, were offered to the grid of the whole video, of which this one takes the
        frames that follow. Call it before the first frame.
        """
        self.last, self._before = cell_of(t, self._per_s), (t, -1)

    def take(self, t: float, row: int) -> Pick:
        """Offers frame `row`, at `t` seconds, which increase from call to call."""
        before, pause = self.close(t), self._before is not None and is_long(t - self._before[0])
        self._before = (t, row)
        cell = cell_of(t, self._per_s)
        soon = not self._shown and cell_before(t + HELD_DT_S, self._per_s) > cell
        if cell <= self.last:
            if soon and pause:
                self.rows.append(row)
            return Pick(soon and pause, before)
        if not self.rows:
            self.first, self.again = cell, soon
        self.last = cell
        self.rows.append(row)
        return Pick(True, before)

    def close(self, t: float) -> int | None:
        """Says that the last frame offered is shown until `t` seconds; gives it where it becomes a sample by that."""
        if self._before is None or not self._shown or t - self._before[0] <= PAUSE_S + 1e-6:
            return None
        cell, row = cell_before(t, self._per_s), self._before[1]
        if cell <= self.last:
            return None
        self.last = cell
        if self.rows[-1:] != [row]:
            self.rows.append(row)
            return row
        self.again |= len(self.rows) == 1
        return None
