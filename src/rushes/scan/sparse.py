"""The sparse pass: it decodes a burst of pictures at each key frame and computes from them what the one pass computes from all frames.

The signals of a frame that was not decoded are NaN, and so are those that compare a burst's first picture with the one before: no number
is computed across the gap. One signal is known of some frames in between: where the pictures of a burst repeat one, and the packets after
it are no larger than theirs, or too small to hold a change, their frames repeat it too (`block_diff`), which is how freezes are seen.

Where shots are found by the detector `content`, the last picture of a burst is compared with the first one of the next. Where they differ,
all of the group between is decoded, so that cuts in it are found at their frames.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.media.batch import batch
from rushes.media.bursts import Bursts, Group, NoBursts
from rushes.media.frame_index import FrameIndex
from rushes.media.holes import holes_of
from rushes.media.jpeg import JpegWriter
from rushes.media.random_access import WITHOUT_REORDERING
from rushes.media.time_grid import cell_of
from rushes.media.time_line import Piece
from rushes.media.views import U8, Shape, Shrinker, Views
from rushes.recipe import Recipe
from rushes.scan.content import Content
from rushes.scan.dense import BASELINE_S, DenseMotion
from rushes.scan.exposure import Exposure
from rushes.scan.grid import Grid
from rushes.scan.meters import all_columns
from rushes.scan.motion import GlobalMotion
from rushes.scan.one_pass import BATCH, SampledFrame, Scan, end_of

if TYPE_CHECKING:
    from av import VideoFrame

F32 = npt.NDArray[np.float32]
Stretch = tuple[int, int]

VERSION = 3
"""Raise when the signals or the sampled frames of a sparse pass over the same footage change."""
CHANGED = 0.5
"""Two pictures a group apart differ, so that the group is decoded whole, from this share of the detector's threshold on: a cut between two
scenes changes the picture by as much as it does at once, less what both have in common by chance."""
REPEATED = 0.13
"""Largest `block_diff`, grey levels, of a picture that repeats the one before: `SAME` of measures/motion.py."""
REPEAT_BYTES, REPEAT_SHARE = 60, 0.02
"""Where the last picture of a burst repeats the one before, a packet after it repeats it too, if it has at most so many bytes, or this
share of the key frame's: x264 spends up to 1.9 % on a repeat of one picture (quality 18, ten scenes), and 4 % and more on a small car
that drives through a still one."""
REPEAT_RATIO = 1.5
"""Or so many times the bytes of that last picture's packet: what coders spend on the noise of a still picture varies by less."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A video that was not scanned in sparse mode.

    Attributes:
        why: in words for people.
        decoded_s: seconds that were decoded in vain.
    """

    why: str
    decoded_s: float


def scan_sparse(
    source: str | Any,
    recipe: Recipe,
    *,
    uri: str,
    size_bytes: int = 0,
    stream: int | None = None,
    on_frame: Callable[[SampledFrame], None] | None = None,
    progress: Callable[[float], None] | None = None,
    threshold: float | None = None,
    index: FrameIndex | None = None,
    stretches: Sequence[Stretch] = (),
) -> Scan | Dense:
    """Reads all packets of a video once, decodes bursts, and measures them.

    Args:
        source: a path, or a seekable file object.
        recipe: its tables `scan` and `frames` are used.
        uri: the video's name in errors.
        size_bytes: size of the file, for the facts.
        stream: index of the stream in the file; None: the film.
        on_frame: is given the frames to store as they are made. Where the pass gives `Dense`, they are to be thrown away.
        progress: called with the seconds decoded so far.
        threshold: content from which a frame is a cut, where cuts are sought by content; None: no group is decoded whole.
        index: the frames of the video, where only stretches of it are wanted.
        stretches: these, as frames [first, stop); at each first one a burst begins.

    Raises:
        ProbeError: no readable container or no video in it.
        VideoError: a remote file cannot be read to its end.
    """
    settings = recipe.scan
    bursts = Bursts(
        source, uri=uri, size_bytes=size_bytes, stream=stream, n=settings.sparse_burst, longest_s=settings.sparse_s,
        keep=threshold is not None, progress=progress,
    )  # fmt: skip
    try:
        with bursts:
            one = _Pass(bursts, recipe, on_frame, None if threshold is None else CHANGED * threshold, index)
            if index is None:
                one.run(bursts.groups(), None)
                index, covered = bursts.index(), None
            else:
                covered = tuple(stretches)
                for first, stop in stretches:
                    one.run(bursts.groups_between(index, first, stop), stop)
            return one.scan(index, covered)
    except NoBursts as no:
        return Dense(str(no), bursts.decoded_s)


@dataclass(frozen=True, slots=True)
class _Burst:
    """A decoded burst, of whose group it is not known yet whether it is decoded whole.

    Attributes:
        group: its group.
        views: its pictures.
        near: [start, end), the seconds to which its key frame is the nearest of all.
    """

    group: Group
    views: list[Views]
    near: tuple[float, float]

    def is_nearest(self, per_s: float) -> bool:
        """Whether its key frame is the nearest to a point of a grid of so many points a second; the video's first one is, however short."""
        return self.near[0] == 0.0 or math.ceil(self.near[0] * per_s - 1e-6) < self.near[1] * per_s - 1e-6


def _change(burst: _Burst, following: _Burst | None) -> float:
    """The largest content between pictures of a burst that follow each other and the first one of the next. At the end of what is read
    nothing follows that could be the same, so it is infinite.
    """
    if following is None:
        return math.inf
    views, content = [*burst.views, following.views[0]], Content()
    content.push(batch(np.array([v.t for v in views]), np.stack([v.motion for v in views]), np.stack([v.colour for v in views])))
    return float(np.nanmax(content.finish()["content"]))


class _Pass:
    """Takes groups in order, and gives the pictures that are decoded of them to the meters.

    Args:
        bursts: the video.
        recipe: its tables `scan` and `frames` are used.
        on_frame: is given the frames to store.
        changed: content from which two pictures a group apart differ; None: no group is decoded whole.
        index: the frames of the video, where they are known.
    """

    def __init__(
        self,
        bursts: Bursts,
        recipe: Recipe,
        on_frame: Callable[[SampledFrame], None] | None,
        changed: float | None,
        index: FrameIndex | None,
    ) -> None:
        self._bursts, self._recipe, self._on_frame, self._changed, self._index = bursts, recipe, on_frame, changed, index
        self._base = bursts.facts.time_base
        self._first_pts = None if index is None else int(index.pts[0])
        self._pts: list[int] = []
        self._small: list[tuple[float, U8, U8, bool]] = []
        self._jpeg = JpegWriter(recipe.frames.short_side_px, recipe.frames.quality)
        self._flow, self._grid, self._content, self._motion = DenseMotion(), Grid(recipe.scan.grid_per_s), Content(), GlobalMotion()
        self._shrinker: Shrinker | None = None
        self._consecutive = False

    def run(self, groups: Iterable[Group], stop: int | None) -> None:
        """Takes the groups of the video, or of a stretch that ends before the frame `stop`."""
        self._consecutive, held, index = False, None, self._index
        self._grid.restart()
        until = None if stop is None or index is None or stop == len(index.pts) else int(index.pts[stop])
        for group in groups:
            if self._first_pts is None:
                self._first_pts = group.key_pts
            views = [self._views(*picture) for picture in self._bursts.decode_burst(group)]
            burst = _Burst(group, views, self._near(group, held))
            if held is not None:
                self._settle(held, burst, until)
            held = burst
        if held is not None:
            self._settle(held, None, until)

    def _near(self, group: Group, before: _Burst | None) -> tuple[float, float]:
        """The seconds, [start, end), to which a group's key frame is the nearest of all."""
        index, key = self._index, group.key_pts
        earlier = before.group.key_pts if before is not None else None
        if earlier is None and index is not None and (at := int(np.searchsorted(index.pts[index.bursts], key))):
            earlier = int(index.pts[index.bursts[at - 1]])
        end = group.end if index is None else end_of(index.pts, index.last_duration)
        return (
            0.0 if earlier is None else (self._t(earlier) + self._t(key)) / 2,
            self._t(end) if group.after is None else (self._t(key) + self._t(group.after)) / 2,
        )

    def _t(self, pts: int) -> float:
        """Seconds since the video's first pts."""
        assert self._first_pts is not None
        return (pts - self._first_pts) * self._base.numerator / self._base.denominator

    def _views(self, frame: VideoFrame, pts: int) -> Views:
        if self._shrinker is None:
            self._shrinker = Shrinker(Shape.of(frame.width, frame.height))
            self._exposure = Exposure(hdr=self._bursts.facts.hdr)
        return Views(frame, pts, self._t(pts), self._shrinker, full_range=self._bursts.full_range)

    def _settle(self, burst: _Burst, following: _Burst | None, until: int | None) -> None:
        """Gives a burst to the meters, or all of its group where the picture changes on the way to the next one."""
        whole = self._changed is not None and _change(burst, following) >= self._changed
        pictures: Iterable[Views] = burst.views
        if whole:
            next_group = following.group if following is not None else None
            pictures = (self._views(*picture) for picture in self._bursts.decode_group(burst.group, next_group))
        rates = (self._recipe.scan.grid_per_s, self._recipe.frames.per_s)
        before: Views | None = None
        moved = False
        self._flow.restart()
        for views in pictures:
            if until is not None and views.pts >= until:
                break
            if before is None:
                sample, store = (burst.is_nearest(per_s) for per_s in rates)
            else:
                sample, store = (whole and cell_of(views.t, per_s) > cell_of(before.t, per_s) for per_s in rates)
            flow = not moved and views.t - burst.views[0].t >= BASELINE_S
            self._take(views, follows=before is not None or self._consecutive, flow=flow, sample=sample, store=store)
            before, moved = views, moved or flow
        self._consecutive = whole

    def _take(self, views: Views, *, follows: bool, flow: bool, sample: bool, store: bool) -> None:
        self._flow.push(views, flow)
        self._grid.push(views, sample)
        if store and self._on_frame is not None:
            self._on_frame(SampledFrame(views.pts, *self._jpeg.encode(views.frame, self._bursts.facts)))
        self._pts.append(views.pts)
        self._small.append((views.t, views.motion, views.colour, follows))
        if len(self._small) == BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._small:
            t, motion, colour, follows = zip(*self._small, strict=True)
            views = batch(np.array(t), np.stack(motion), np.stack(colour), np.array(follows))
            for meter in (self._content, self._exposure, self._motion):
                meter.push(views)
            self._small = []

    def scan(self, index: FrameIndex, covered: tuple[Stretch, ...] | None) -> Scan:
        """The result, when all groups were taken."""
        self._flush()
        facts, pts, n = self._bursts.facts, index.pts, len(index.pts)
        at = np.searchsorted(pts, np.array(self._pts, np.int64))
        if not len(at) or not np.array_equal(pts[at], self._pts):
            raise NoBursts("its packets do not tell which frames it has")
        signals = {column.name: np.full(n, np.nan, np.float32) for column in all_columns(self._recipe.scan)}
        for meter in (self._content, self._grid, self._flow, self._exposure, self._motion):
            for name, values in meter.finish().items():
                signals[name][at] = values
        self._repeats(signals["block_diff"], index, covered)
        holes, end_pts = holes_of(pts, facts.time_base, self._recipe.scan.hole_s), end_of(pts, index.last_duration)
        shown = np.diff(pts, append=end_pts)
        for hole in holes:
            shown[hole.at - 1] -= hole.end_pts - hole.start_pts
        decoded = int(shown[np.searchsorted(pts, np.array(self._bursts.decoded, np.int64))].sum())
        found = Scan(
            facts, "sparse", pts, signals, end_pts, index.n_packets, n_corrupt=0, n_repaired_pts=0, n_new_clocks=0,
            pieces=(Piece(int(pts[0]), 0),), holes=tuple(holes), covered=covered, passed_s=float(decoded * facts.time_base),
        )  # fmt: skip
        return found.with_measured_facts()

    def _repeats(self, change: F32, index: FrameIndex, covered: tuple[Stretch, ...] | None) -> None:
        """Writes the change of frames that were not decoded, where their burst and their packets tell that they repeat one picture: it is
        that of the burst's last picture. The one before may differ from its key frame, which encodes the same picture anew.
        """
        for first, stop in ((0, len(change)),) if covered is None else covered:
            edges = [*index.bursts[(index.bursts >= first) & (index.bursts < stop)], stop]
            for start, end in itertools.pairwise(edges):
                own, sizes = change[start + 1 : end], index.sizes[start + 1 : end]
                known = ~np.isnan(own)
                if known.any() and own[known][-1] <= REPEATED:
                    small = max(REPEAT_BYTES, REPEAT_SHARE * index.sizes[start], REPEAT_RATIO * sizes[known][-1])
                    if self._bursts.facts.codec in WITHOUT_REORDERING and (sizes > small).any():
                        continue  # a frame may be a copy of one that is not shown, which an earlier packet brought
                    own[~known & (sizes <= small)] = own[known][-1]
