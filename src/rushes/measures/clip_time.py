"""How long each picture of a clip is shown. Measures are shares and means of time, so that a film reads alike however often its container
repeats a picture: at a constant rate, or only where something changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rushes.media.time_grid import FLOW_PER_S, PAUSE_S, cell_before, cell_of

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LONGEST_S = 1.5
"""A picture shown for longer than this, seconds, is held. Motion between pictures further apart is not seen as motion (scan/dense.py)."""
EVEN = 1.5
"""Steps are even when nine tenths of them are at most this many times as long as the tenth that is shortest: so a camera of one picture a
second holds none of them."""
LONG_STEPS = 3.0
"""Where steps are even, a picture is held that is shown for more than this many of them."""
CHANGE_S = 0.04
"""A held picture changes to the next within this time, seconds, as at 25 pictures a second; or within the usual step, if shorter."""


@dataclass(frozen=True, slots=True)
class ClipTime:
    """The times of a clip.

    Attributes:
        at: its frames, [start, stop), among those of the video.
        t: (n,) seconds of its n frames, since the video's first one.
        end_s: its end.
        grid_per_s: samples a second of what is measured on a grid.
        seen: in sparse mode (n,) which of the frames were decoded: bursts, of which each picture stands for the times to which it is the
            nearest. None in the other modes, which decode all.
    """

    at: slice
    t: F64
    end_s: float
    grid_per_s: float = 1.0
    seen: Mask | None = None

    def stands_for(self, chosen: Mask) -> F64:
        """(k,) seconds of the clip to which each of k pictures is the nearest of them. `chosen`: (n,) which pictures these are."""
        t = self.t[chosen]
        if not len(t):
            return t
        return np.diff(np.concatenate(([self.t[0]], (t[1:] + t[:-1]) / 2, [self.end_s])))

    @property
    def shown(self) -> F64:
        """(n,) seconds for which each picture is shown."""
        return np.maximum(np.diff(self.t, append=self.end_s), 0.0)

    @property
    def held(self) -> Mask:
        """(n,) whether each picture stands still while it is shown, rather than being one of a steady sequence."""
        shown, steps = self.shown, np.diff(self.t)
        if not len(steps):
            return shown > LONGEST_S
        short, usual, long = np.quantile(steps, (0.1, 0.5, 0.9))
        most = LONG_STEPS * usual if long <= EVEN * short else 0.0
        return (shown > LONGEST_S) | (shown > max(PAUSE_S + 1e-6, most))

    def sample_weights(self, sampled: Mask) -> F64:
        """(k,) at how many points of the grid each of k sampled pictures is the sample, as `TimeGrid` has it; at least 1. Where not all
        frames were decoded: the seconds that each stands for.

        Args:
            sampled: (n,) which pictures these are.
        """
        if self.seen is not None:
            return self.stands_for(sampled)
        per_s, n = self.grid_per_s, len(self.t)
        points = np.arange(cell_before(float(self.t[0]), per_s) + 1, cell_before(self.end_s, per_s) + 1) / per_s
        at = np.clip(np.searchsorted(self.t, points + 1e-6 / per_s, "right") - 1, 0, n - 1)
        next_one = (self.shown[at] <= PAUSE_S + 1e-6) & (self.t[at] < points - 1e-6 / per_s)
        found = np.bincount(np.minimum(at + next_one, n - 1), minlength=n)
        return np.maximum(found[sampled], 1).astype(np.float64)

    def still_cells(self) -> int:
        """Cells of the motion's grid at whose beginning a picture is held, so that nothing moves."""
        held, ends = self.held, np.append(self.t[1:], self.end_s)
        return sum(
            max(0, cell_before(float(stop), FLOW_PER_S) - cell_of(float(start), FLOW_PER_S))
            for start, stop in zip(self.t[held], ends[held], strict=True)
        )

    @property
    def after_held(self) -> Mask:
        """(n,) whether a picture comes after a held one."""
        return np.concatenate(([False], self.held[:-1]))

    def beats(self) -> tuple[Mask, Mask]:
        """(n,) which pictures are samples of the motion: the first of each cell of its grid. After a held picture, whose cell that is, only
        those are that come within `CHANGE_S` of where a cell begins. The second mask: of these, those whose cell `still_cells` counts too.
        """
        cells, after = np.floor(self.t * FLOW_PER_S + 1e-6), self.after_held
        repeated = np.concatenate(([False], cells[1:] == cells[:-1]))
        since, until = self.t - cells / FLOW_PER_S, (cells + 1) / FLOW_PER_S - self.t
        before = after & self.held & (until < CHANGE_S) & (self.shown > until)
        beats = np.where(after, (since < CHANGE_S) | before, ~repeated)
        return beats, beats & after & (before | (since > 1e-6))

    def moves(self, *series: F64) -> tuple[F64, tuple[F64, ...]]:
        """Steps between pictures, in seconds, and values of each, as a player that repeats held pictures would show them: a held picture is
        many short steps without change, and then one with it.

        Args:
            series: (n - 1,) or (n - 1, k), what changes from each picture to the next. 0 where nothing does.
        """
        steps = np.diff(self.t)
        change = min(CHANGE_S, float(np.quantile(steps, 0.25))) if len(steps) else CHANGE_S
        still = np.where(self.held, np.maximum(self.shown - change, 0.0), 0.0)
        repeats = np.ceil(still / change - 1e-6).astype(np.int64)
        dt = np.repeat(still / np.maximum(repeats, 1), repeats)
        at = np.cumsum(repeats)[:-1]  # where the changes come, among the repeats
        out = [np.insert(np.zeros((len(dt), *values.shape[1:])), at, values, axis=0) for values in series]
        return np.insert(dt, at, steps - still[:-1]), tuple(out)
