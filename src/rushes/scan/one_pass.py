"""The one pass: decode a video once; every signal, and every frame that models will see, comes from here.

A frame's small views are stacked into batches, so that most signals cost a few numpy calls for 64 frames rather than for one. Memory
does not grow with length beyond the signals themselves; sampled frames leave through `on_frame` as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.media.batch import batch
from rushes.media.decode import Decoder
from rushes.media.jpeg import JpegWriter
from rushes.media.views import Shape, Shrinker, Views
from rushes.recipe import FrameSettings, Recipe
from rushes.records import Column, Mode, VideoFacts
from rushes.scan.meters import Meters, all_columns, make_meters

if TYPE_CHECKING:
    from av import VideoFrame

VERSION = 2
"""Raise when the signals of the same footage change."""
FRAMES_VERSION = 1
"""Raise when the sampled JPEG frames of the same footage change."""
BATCH = 64
"""Frames a batch: large enough that numpy's call overhead vanishes, small enough to stay in the cache (64 x 128 x 72 bytes)."""


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """One frame of the frame grid: its pts and the upright JPEG."""

    pts: int
    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over a video found.

    Attributes:
        facts: container facts, completed by the first frame.
        mode: the mode in force; `exact` also where `fast` was asked for and the stream has no frame to skip.
        pts: (n,) int64, strictly increasing, one for each decoded frame.
        signals: name -> (n,) float32; NaN where a signal was not measured.
        end_pts: last pts + that frame's duration, else the median frame step, else one tick.
        n_packets, n_corrupt, n_repaired_pts: packets read; corrupt packets and frames survived; pts that had to be mended.
    """

    facts: VideoFacts
    mode: Mode
    pts: npt.NDArray[np.int64]
    signals: dict[str, npt.NDArray[np.float32]]
    end_pts: int
    n_packets: int
    n_corrupt: int
    n_repaired_pts: int

    @property
    def footage_s(self) -> float:
        """Last frame's end minus first pts, in seconds."""
        return float((self.end_pts - int(self.pts[0])) * self.facts.time_base)


def signal_columns(recipe: Recipe) -> tuple[Column, ...]:
    """The signals that a pass under this recipe gives."""
    return all_columns(recipe.scan)


def scan(
    source: str | Any,
    recipe: Recipe,
    *,
    uri: str | None = None,
    size_bytes: int = 0,
    on_frame: Callable[[SampledFrame], None] | None = None,
    progress: Callable[[float], None] | None = None,
    meters: Callable[[VideoFacts], Meters] | None = None,
) -> Scan:
    """Decodes a video once and measures everything on the way.

    Args:
        source: a path, or a seekable file object.
        recipe: `scan` and `frames` are looked at.
        uri: the name in errors; default: the source.
        size_bytes: size of the file, for the facts.
        on_frame: takes the frames of the frame grid as they come; none are made without it.
        progress: called with the seconds decoded so far.
        meters: makes the meters; default: all of them. Benchmarks leave some out.

    Raises:
        ProbeError: no readable container or no video in it.
        DecodeError: no frame could be decoded.
    """
    with Decoder(source, uri=uri or str(source), size_bytes=size_bytes, mode=recipe.scan.mode, progress=progress) as decoder:
        one = _Pass(decoder, recipe, on_frame, meters or (lambda facts: make_meters(facts, recipe.scan)))
        return one.run()


class _Grid:
    """Picks the first frame of each cell of a grid in time, anchored at the video's first pts."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._cell = -1

    def take(self, t: float) -> bool:
        cell = int(t * self._per_s + 1e-6)  # a pts a hair before the grid point, by rounding, belongs to the point
        if cell <= self._cell:
            return False
        self._cell = cell
        return True


class _Pass:
    def __init__(
        self, decoder: Decoder, recipe: Recipe, on_frame: Callable[[SampledFrame], None] | None, meters: Callable[[VideoFacts], Meters]
    ) -> None:
        self.decoder = decoder
        self.frames: FrameSettings = recipe.frames
        self.on_frame = on_frame
        self.make_meters = meters
        self.pts: list[int] = []
        self.times: list[float] = []
        self.frame_grid = _Grid(recipe.frames.per_s)
        self.jpeg = JpegWriter(recipe.frames.short_side_px, recipe.frames.quality)
        self.fill = 0

    def run(self) -> Scan:
        tick = self.decoder.time_base
        num, den = tick.numerator, tick.denominator
        first: int | None = None
        for frame, pts in self.decoder:
            if first is None:
                first = pts
                self._open(frame)
            self._take(frame, pts, (pts - first) * num / den)
        self._flush()
        signals: dict[str, npt.NDArray[np.float32]] = {}
        for meter in (*self.meters.by_frame, *self.meters.by_batch):
            signals.update(meter.finish())
        pts_array = np.array(self.pts, np.int64)
        d = self.decoder
        return Scan(d.facts, d.mode, pts_array, signals, self._end(pts_array), d.n_packets, d.n_corrupt, d.n_repaired_pts)

    def _open(self, frame: VideoFrame) -> None:
        shape = Shape.of(frame.width, frame.height)
        self.shrinker = Shrinker(shape)
        self.meters = self.make_meters(self.decoder.facts)
        self.paced = [(meter, None if meter.per_s is None else _Grid(meter.per_s)) for meter in self.meters.by_frame]
        width, height = shape.motion
        self.motion = np.empty((BATCH, height, width), np.uint8)
        self.colour = np.empty((BATCH, 2, height // 2, width // 2), np.uint8)

    def _take(self, frame: VideoFrame, pts: int, t: float) -> None:
        slot = self.fill
        views = Views(
            frame, pts, t, self.shrinker, full_range=self.decoder.full_range, motion_out=self.motion[slot], colour_out=self.colour[slot]
        )
        sound = not frame.is_corrupt
        for meter, grid in self.paced:
            meter.push(views, sound and grid is not None and grid.take(t))
        if self.meters.by_batch:
            _ = views.motion, views.colour  # written into the batch
        self.pts.append(pts)
        self.times.append(t)
        self.fill += 1
        if self.fill == BATCH:
            self._flush()
        if self.on_frame is not None and sound and (self.frames.at == "grid" or frame.key_frame) and self.frame_grid.take(t):
            self.on_frame(SampledFrame(pts, *self.jpeg.encode(frame, self.decoder.facts)))

    def _flush(self) -> None:
        if not self.fill:
            return
        views = batch(np.array(self.times[-self.fill :]), self.motion[: self.fill], self.colour[: self.fill])
        for meter in self.meters.by_batch:
            meter.push(views)
        self.motion = np.empty_like(self.motion)  # meters may keep the batch
        self.fill = 0

    def _end(self, pts: npt.NDArray[np.int64]) -> int:
        last = self.decoder.last_duration
        if not last:
            last = int(np.median(np.diff(pts))) if len(pts) > 1 else 1
        return int(pts[-1]) + max(1, last)
