"""Joins the scans of a video's segments into the scan of the whole video, equal to that of one pass to the last bit.

Signals whose computation reads frames of both sides of a seam are computed again, by the same meters, from the small views that the
segments kept. Where the result might differ from that of one pass (the decoder would have been in another state, or a segment does not
begin where it was expected to), `stitch` gives a Refusal, and the video is scanned whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rushes.media.batch import batch
from rushes.media.holes import holes_of
from rushes.media.time_grid import is_long
from rushes.media.time_line import ALONE_S, LOOK, RECENT
from rushes.recipe import Recipe
from rushes.scan.blend import Blend, settled_from, unsettled_from
from rushes.scan.content import Content
from rushes.scan.dense import DenseMotion
from rushes.scan.grid import Grid
from rushes.scan.motion import GlobalMotion
from rushes.scan.one_pass import BATCH, FRAMES, SampledFrame, Scan, end_of
from rushes.scan.seam_buffer import Strip, joined
from rushes.scan.segment import SegmentScan
from rushes.scan.sharpness import Edges

Signals = dict[str, npt.NDArray[np.float32]]
BLEND = frozenset(column.name for column in Blend.columns)
SUMS = ("n_packets", "n_corrupt", "n_repaired_pts", "n_new_clocks")
GRID_COLUMNS = {"Grid": tuple(c.name for c in Grid.columns), "DenseMotion": tuple(c.name for c in DenseMotion.columns)}


@dataclass(frozen=True, slots=True)
class Stitched:
    """The scan of the whole video, the frames to store that its segments held back, and the number of all its stored frames, these
    included.
    """

    scan: Scan
    frames: tuple[SampledFrame, ...]
    n_frames: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why segments cannot be joined exactly, in words for people."""

    reason: str


def stitch(segments: Iterable[SegmentScan], recipe: Recipe) -> Stitched | Refusal:
    """Joins all segments of a video, given in order. They are read one by one, and the small views of each are dropped after use."""
    stitcher = _Stitcher(recipe.scan.hole_s)
    for segment in segments:
        reason = stitcher.misfit(segment)
        if reason is not None:
            return Refusal(reason)
        stitcher.add(segment)
    return stitcher.finish()


class _Stitcher:
    def __init__(self, hole_s: float) -> None:
        self.hole_s = hole_s
        self.done: list[SegmentScan] = []
        self.signals: list[Signals] = []
        self.frames: list[SampledFrame] = []
        self.last_cells: dict[str, int] = {}
        self.last_edges: tuple[Edges, npt.NDArray[np.float32], int] | None = None  # with the signal of their segment, and their index
        self.seam = _Seam()

    def misfit(self, new: SegmentScan) -> str | None:
        """Why a segment cannot be joined to those before it, in words; None where it can."""
        seams, k = new.seams, len(self.done)
        if not (seams.started and seams.ended):
            return f"segment {k} was not found between its key frames"
        if new.n_new_clocks:
            return f"a new clock begins in segment {k}"
        if new.mended is not None:  # the time line looks at frames on both sides
            near_start = new.segment.start_pts is not None and new.mended[0] <= RECENT
            if near_start or (new.segment.end_pts is not None and new.mended[1] >= len(new.pts) - 1 - LOOK):
                return f"a stamp beside a seam of segment {k} had to be mended"
        if seams.gave_up:
            return f"the rest of segment {k} was too damaged to be read"
        if new.reordering != seams.reordering:
            return f"the decoder learnt in segment {k} that it held back too few frames to give them in order"
        if seams.last_damage is not None and seams.last_damage >= seams.last_key:
            return f"segment {k} is damaged next to a seam"
        if not self.done:
            first = new.segment.first_pts
            return None if int(new.pts[0]) == first else f"the first frame has pts {new.pts[0]}, not {first}"
        before = self.done[-1]
        if new.facts != before.facts or new.mode != before.mode:
            return f"size, format or orientation of the picture change before segment {k}"
        if new.pts[0] <= before.pts[-1]:
            return f"segment {k} begins with pts {new.pts[0]}, the one before ends with {before.pts[-1]}"
        if new.reordering != before.reordering:
            return f"the decoder holds back another number of frames in segment {k}"
        if new.facts.codec == "h264" and (_fields(new) is None or _fields(new) != _fields(before)):
            return f"some frames are interlaced and some are not, up to segment {k}"  # libav's flag may depend on frames before
        return None

    def add(self, new: SegmentScan) -> None:
        signals = {name: row.copy() for name, row in new.signals.items()}
        base, last = new.facts.time_base, int(self.done[-1].pts[-1]) if self.done else int(new.pts[0])
        pause = is_long(float((int(new.pts[0]) - last) * base))
        sure = {name for name, taken in new.taken.items() if taken.again and (name != "DenseMotion" or pause)}
        tentative = {name: taken for name, taken in new.taken.items() if taken.rows and name not in sure}
        drop = {name for name, taken in tentative.items() if self.last_cells.get(name, -1) >= taken.first}
        for name, columns in GRID_COLUMNS.items():
            for column in columns if name in drop else ():
                signals[column][new.taken[name].rows[0]] = np.nan
        self._compare_edges(new, signals, skipped="Grid" in drop)
        if new.held is not None and FRAMES not in drop:
            self.frames.append(new.held)
        for name, taken in new.taken.items():
            if taken.rows:
                self.last_cells[name] = max(taken.last, self.last_cells.get(name, -1))
        flow = new.taken["DenseMotion"].rows
        self.seam.take(new, signals, frozenset(flow[1:] if "DenseMotion" in drop else flow))
        self.signals.append(signals)
        self.done.append(replace(new, signals={}, held=None, head=None, tail=None, edges=()))

    def _compare_edges(self, new: SegmentScan, signals: Signals, *, skipped: bool) -> None:
        """Computes the sharpness of the two frames on the grid again that a seam parts. `skipped`: the segment's first one does not count,
        and the second one is taken.
        """
        first, rows = new.edges[skipped:-1], new.taken["Grid"].rows
        if not first:
            return
        if self.last_edges is not None:
            last, after, row = self.last_edges
            signals["sharpness_before"][rows[skipped]] = first[0].below_display(last)
            after[row] = last.below_display(first[0])
        self.last_edges = new.edges[-1], signals["sharpness_after"], rows[-1]

    def finish(self) -> Stitched | Refusal:
        if not self.done or self.done[-1].segment.end_pts is not None:
            return Refusal(f"segment {len(self.done)} is missing")
        self.seam.close()
        pts = np.concatenate([s.pts for s in self.done])
        if self._may_be_alone(pts):
            return Refusal("its first or its last frame, beside a seam, is alone")
        signals = {name: np.concatenate([s[name] for s in self.signals]) for name in self.signals[0]}
        last, totals = self.done[-1], {name: sum(getattr(s, name) for s in self.done) for name in SUMS}
        pieces = [piece for s in self.done for piece in s.pieces]
        pieces = [piece for k, piece in enumerate(pieces) if not k or piece.offset != pieces[k - 1].offset]
        holes = holes_of(pts, last.facts.time_base, self.hole_s)
        scan = Scan(
            self.done[0].facts, last.mode, pts, signals, end_of(pts, last.last_duration), pieces=tuple(pieces), holes=tuple(holes), **totals
        )  # fmt: skip
        return Stitched(scan.with_measured_facts(), tuple(self.frames), len(self.frames) + sum(s.n_frames for s in self.done))

    def _may_be_alone(self, pts: npt.NDArray[np.int64]) -> bool:
        """Whether the time line might take the first or the last frame of the video, `pts`, for an outlier, which the few frames of its
        segment cannot tell: it looks at two further ones at the beginning, and at `RECENT` steps before the last one.
        """
        alone = ALONE_S / self.done[0].facts.time_base
        first, last = self.done[0], self.done[-1]
        return bool((len(first.pts) < 3 and pts[1] - pts[0] > alone) or (len(last.pts) < RECENT + 2 and pts[-1] - pts[-2] > alone))


def _fields(scan: SegmentScan) -> bool | None:
    """True where all frames are interlaced, False where none is, None where some are."""
    return {0: False, len(scan.pts): True}.get(scan.n_interlaced)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the signals computed again from one strip of views are written.

    Attributes:
        signals: the arrays of the strip's segment, which are overwritten.
        start: index, in the segment, of the strip's first frame.
        length: number of frames in the strip.
        past: frames before this index have signals whose computation crosses the seam before the segment.
        future: frames from this index on have blend signals whose computation crosses the seam after it.
    """

    signals: Signals
    start: int
    length: int
    past: int
    future: int


class _Seam:
    """Computes the signals around a seam again, from the tail of one segment and the head of the next.

    Where all frames of a short segment were kept, the seams on its two sides are treated as one.
    """

    def __init__(self) -> None:
        self._open()

    def _open(self) -> None:
        self.content, self.motion, self.blend, self.flow = Content(), GlobalMotion(), Blend(), DenseMotion()
        self.targets: list[_Target] = []

    def take(self, new: SegmentScan, signals: Signals, flow: frozenset[int]) -> None:
        """Takes the next segment.

        Args:
            new: the segment.
            signals: its signals, which are overwritten in place.
            flow: indices of its frames on the grid of the dense motion.
        """
        n, strips = len(new.pts), [s for s in (new.head, new.tail) if s is not None]
        before, after = new.segment.start_pts is not None, new.segment.end_pts is not None
        if strips and sum(map(len, strips)) == n:
            strip = joined(strips)
            self._feed(strip, flow, _Target(signals, 0, n, settled_from(strip.t) if before else 0, unsettled_from(strip.t) if after else n))
            return
        if new.head is not None:
            self._feed(new.head, flow, _Target(signals, 0, len(new.head), settled_from(new.head.t), n))
        self.close()
        if new.tail is not None:
            start = n - len(new.tail)
            self._feed(new.tail, flow, _Target(signals, start, len(new.tail), start, start + unsettled_from(new.tail.t)))

    def _feed(self, strip: Strip, flow: frozenset[int], target: _Target) -> None:
        for first in range(0, len(strip), BATCH):
            some = strip.part(first, first + BATCH)
            views = batch(some.t, some.motion, some.colour)
            for meter in (self.content, self.motion, self.blend):
                meter.push(views)
            for i, t in enumerate(some.t):
                self.flow.push_motion(float(t), some.motion[i], target.start + first + i in flow)
        self.targets.append(target)

    def close(self) -> None:
        """Ends a seam: writes the signals computed again into the arrays of their segments."""
        made: Signals = {}
        for meter in (self.content, self.motion, self.blend, self.flow):
            made |= meter.finish()
        at = 0
        for target in self.targets:
            for name, values in made.items():
                own = values[at : at + target.length]
                past, future = target.past - target.start, target.future - target.start
                if past > 0:
                    target.signals[name][target.start : target.past] = own[:past]
                if name in BLEND and future < target.length:
                    target.signals[name][max(target.past, target.future) : target.start + target.length] = own[max(past, future) :]
            at += target.length
        self._open()
