"""The one pass: it decodes a video once, and makes from it all signals and all frames that models and people will see.

The small views of 128 frames are stacked into a batch, so that most signals take a few numpy calls for all of them. Only
the signals grow with the video's length; sampled frames are passed to `on_frame` as they are made and not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.media.batch import batch
from rushes.media.decode import Decoder
from rushes.media.holes import Hole, holes_of, ticks_of
from rushes.media.jpeg import JpegWriter
from rushes.media.time_grid import Pick, TimeGrid
from rushes.media.time_line import Piece
from rushes.media.views import Shape, Shrinker, Views
from rushes.recipe import FrameSettings, Recipe
from rushes.records import AGREES, Column, Mode, VideoFacts
from rushes.scan.grid import Grid
from rushes.scan.meters import FrameMeter, Meters, all_columns, make_meters
from rushes.scan.seam_buffer import SeamBuffer, Strip
from rushes.scan.sharpness import Edges

if TYPE_CHECKING:
    from av import VideoFrame

VERSION = 9
"""Raise when the signals of the same footage change."""
FRAMES_VERSION = 2
"""Raise when the sampled JPEG frames of the same footage change."""
BATCH = 128
"""Frames in a batch: enough to make the overhead of numpy's calls small (with 64 a pass at 360p took 2 % more), few enough to stay in the
cache (128 x 128 x 72 bytes)."""

FRAMES = "frames"
"""Name of the grid of the stored frames among the grids in time; the others have the class name of their meter."""


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """One stored frame: its pts, and the upright JPEG with its size in pixels."""

    pts: int
    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of one pass over a video.

    Attributes:
        facts: container facts, completed by the first frame.
        mode: the mode in force; `exact` also where `fast` was asked for and the stream has no frame to skip.
        pts: (n,) int64, strictly increasing, one for each decoded frame.
        signals: name -> (n,) float32; NaN where a signal was not measured.
        end_pts: last pts + that frame's duration, else the median frame step, else one tick.
        n_packets, n_corrupt: packets read; corrupt packets and frames among them.
        n_repaired_pts: frames whose stamp was missing or an outlier, and was mended.
        n_new_clocks: how often the stamps went back and then on, as those of a new clock.
        pieces: how pts came of the file's stamps, see `TimeLine`.
        holes: during which the camera was off.
        covered: the stretches of frames that were decoded, [first, stop) by index, in order, where not all were; None: all. Of the others
            only the pts is known: their signals are NaN.
        passed_s: seconds of frames that passed the decoder, where that is not the footage: in sparse mode.
    """

    facts: VideoFacts
    mode: Mode
    pts: npt.NDArray[np.int64]
    signals: dict[str, npt.NDArray[np.float32]]
    end_pts: int
    n_packets: int
    n_corrupt: int
    n_repaired_pts: int
    n_new_clocks: int
    pieces: tuple[Piece, ...]
    holes: tuple[Hole, ...]
    covered: tuple[tuple[int, int], ...] | None = None
    passed_s: float | None = None

    @property
    def decoded_s(self) -> float:
        """Seconds of frames that passed the decoder, each counted as often as it did."""
        return self.footage_s if self.passed_s is None else self.passed_s

    @property
    def footage_s(self) -> float:
        """Seconds of footage: last frame's end minus first pts, less the holes; of each stretch, where only stretches were decoded."""
        return sum(self.length_s(*part) for part in self.covered) if self.covered is not None else self.length_s(0, len(self.pts))

    def length_s(self, first: int, stop: int) -> float:
        """Seconds that the frames [first, stop) are shown, less the holes."""
        end = int(self.pts[stop]) if stop < len(self.pts) else self.end_pts
        holes = ticks_of(hole for hole in self.holes if first < hole.at <= stop)
        return float((end - int(self.pts[first]) - holes) * self.facts.time_base)

    def with_measured_facts(self) -> Scan:
        """The same scan with the frame rate and length in its facts that the pass found (`VideoFacts.with_measured`).

        Of a scan that skips frames the packets are counted; where two packets make a picture, a field each, the stated rate is half of
        that and is believed.
        """
        n: float = self.n_packets if self.mode == "fast" else len(self.pts)
        whole_s = self.length_s(0, len(self.pts))
        fields = self.mode == "fast" and self.facts.fps is not None and abs(2 * self.facts.fps * whole_s - n) <= AGREES * n
        return replace(self, facts=self.facts.with_measured(whole_s, n / 2 if fields else n))


class TooLong(Exception):
    """The video is longer than the `longest_s` that one pass may take; it should be scanned in segments."""


def signal_columns(recipe: Recipe) -> tuple[Column, ...]:
    """The columns of the signals that a pass under this recipe gives."""
    return all_columns(recipe.scan)


def scan(
    source: str | Any,
    recipe: Recipe,
    *,
    uri: str | None = None,
    size_bytes: int = 0,
    stream: int | None = None,
    on_frame: Callable[[SampledFrame], None] | None = None,
    progress: Callable[[float], None] | None = None,
    meters: Callable[[VideoFacts], Meters] | None = None,
    longest_s: float | None = None,
) -> Scan:
    """Decodes a video once and measures everything on the way.

    Args:
        source: a path, or a seekable file object.
        recipe: its tables `scan` and `frames` are used.
        uri: the video's name in errors; default: the source.
        size_bytes: size of the file, for the facts.
        stream: index of the stream in the file; None: the film.
        on_frame: is given the frames to store as they are made; without it none are made.
        progress: called with the seconds decoded so far.
        meters: makes the meters; default: all of them. Benchmarks pass fewer.
        longest_s: longest video that one pass may take, seconds.

    Raises:
        TooLong: the container states a longer duration; nothing was decoded.
        ProbeError: no readable container or no video in it.
        DecodeError: no frame could be decoded.
    """
    shown = uri or str(source)
    with Decoder(source, uri=shown, size_bytes=size_bytes, mode=recipe.scan.whole_mode, progress=progress, stream=stream) as decoder:
        if longest_s is not None and (decoder.facts.duration_s or 0.0) > longest_s:
            raise TooLong
        one = Pass(decoder, recipe, on_frame, meters or (lambda facts: make_meters(facts, recipe)))
        one.run()
        pts = np.array(one.pts, np.int64)
        d = decoder
        end_pts = end_of(pts, d.last_duration)
        holes, line = tuple(holes_of(pts, d.time_base, recipe.scan.hole_s)), d.line
        counts = (d.n_packets, d.n_corrupt, line.n_mended, line.n_clocks)
        return Scan(d.facts, d.mode, pts, one.signals(), end_pts, *counts, tuple(line.pieces), holes).with_measured_facts()


def end_of(pts: npt.NDArray[np.int64], last_duration: int) -> int:
    """End of the last frame: its pts + duration in ticks, where that is not 0; else the median frame step, else one tick."""
    last = last_duration or (int(np.median(np.diff(pts))) if len(pts) > 1 else 1)
    return int(pts[-1]) + max(1, last)


class Pass:
    """One pass over the frames of a decoder.

    Args:
        decoder: gives the frames.
        recipe: its table `frames` is used.
        on_frame: is given the frames to store.
        meters: makes the meters when the first frame has completed the facts.
        anchor: the pts from which time is counted; default: the first frame's.
        end_pts: the end of the last frame, where it is that of a segment; default: what the last frame says.
        before: the pts of the frame before the first one, which the decoder does not give; None: there is none.
        most: so many frames are taken at most; None: all.
        seam_buffer: keeps the small views that the seams of a segment need; None for a whole video.

    Attributes:
        pts: those of the frames so far.
        grids: the grids in time, by the class name of the meter that measures on it, and "frames" for the stored frames.
        n_interlaced: number of interlaced frames.
    """

    def __init__(
        self,
        decoder: Decoder,
        recipe: Recipe,
        on_frame: Callable[[SampledFrame], None] | None,
        meters: Callable[[VideoFacts], Meters],
        *,
        anchor: int | None = None,
        end_pts: int | None = None,
        before: int | None = None,
        most: int | None = None,
        seam_buffer: SeamBuffer | None = None,
    ) -> None:
        self.decoder = decoder
        self.pts: list[int] = []
        self.grids: dict[str, TimeGrid] = {FRAMES: TimeGrid(recipe.frames.per_s, shown=recipe.frames.at == "grid")}
        self.n_interlaced = 0
        self._frames: FrameSettings = recipe.frames
        self._on_frame = on_frame
        self._make_meters = meters
        self._anchor = anchor
        self._end = end_pts
        self._before = before
        self._most = most
        self._seam_buffer = seam_buffer
        self._times: list[float] = []
        self._shown: tuple[Views, int] | None = None  # the last sound frame, and its index
        self._jpeg = JpegWriter(recipe.frames.short_side_px, recipe.frames.quality)
        self._fill = 0

    def run(self) -> None:
        """Takes the frames from the decoder."""
        tick = self.decoder.time_base
        num, den = tick.numerator, tick.denominator
        first = self._anchor
        for frame, pts in self.decoder:
            if not self.pts:
                first = pts if first is None else first
                self._open(frame)
                if self._before is not None:
                    for grid in self.grids.values():
                        grid.after((self._before - first) * num / den)
            assert first is not None
            self._take(frame, pts, (pts - first) * num / den)
            if len(self.pts) == self._most:
                break
        if first is not None:
            end = end_of(np.array(self.pts, np.int64), self.decoder.last_duration) if self._end is None else self._end
            self._close((end - first) * num / den)
        self._flush()

    def signals(self) -> dict[str, npt.NDArray[np.float32]]:
        """All signals, name -> (n,)."""
        return {name: row for meter in (*self._meters.by_frame, *self._meters.by_batch) for name, row in meter.finish().items()}

    def edges(self) -> tuple[Edges, ...]:
        """`Grid.ends`; none where the grid is not measured."""
        return next((meter.ends() for meter in self._meters.by_frame if isinstance(meter, Grid)), ())

    def _open(self, frame: VideoFrame) -> None:
        shape = Shape.of(frame.width, frame.height)
        self._shrinker = Shrinker(shape)
        self._meters = self._make_meters(self.decoder.facts)
        self.grids |= {
            type(meter).__name__: TimeGrid(meter.per_s, shown=isinstance(meter, Grid))
            for meter in self._meters.by_frame
            if meter.per_s is not None
        }
        self._frame_meters = [(meter, self.grids.get(type(meter).__name__)) for meter in self._meters.by_frame]
        width, height = shape.motion
        self._motion = np.empty((BATCH, height, width), np.uint8)
        self._colour = np.empty((BATCH, 2, height // 2, width // 2), np.uint8)

    def _take(self, frame: VideoFrame, pts: int, t: float) -> None:
        slot, row = self._fill, len(self.pts)
        views = Views(
            frame, pts, t, self._shrinker, full_range=self.decoder.full_range, motion_out=self._motion[slot], colour_out=self._colour[slot]
        )
        sound = not frame.is_corrupt
        self.n_interlaced += bool(frame.interlaced_frame)
        for meter, grid in self._frame_meters:
            pick = grid.take(t, row) if sound and grid is not None else Pick(False, None)
            self._measure_late(meter, pick.before)
            meter.push(views, pick.now)
        if self._meters.by_batch:
            _ = views.motion, views.colour  # each property writes its view into the batch
        self.pts.append(pts)
        self._times.append(t)
        self._fill += 1
        if self._fill == BATCH:
            self._flush()
        if self._on_frame is not None and sound and (self._frames.at == "grid" or frame.key_frame):
            pick = self.grids[FRAMES].take(t, row)
            self._store_late(pick.before)
            if pick.now:
                self._store(views)
        if sound:
            self._shown = (views, row)

    def _close(self, end_t: float) -> None:
        """Says that the last frame is shown until `end_t` seconds."""
        for meter, grid in self._frame_meters:
            self._measure_late(meter, grid.close(end_t) if grid is not None else None)
        if self._on_frame is not None:
            self._store_late(self.grids[FRAMES].close(end_t))

    def _measure_late(self, meter: FrameMeter, row: int | None) -> None:
        if row is not None and self._shown is not None and isinstance(meter, Grid):
            meter.measure_late(self._shown[0], row)

    def _store_late(self, row: int | None) -> None:
        if row is not None and self._shown is not None:
            self._store(self._shown[0])

    def _store(self, views: Views) -> None:
        assert self._on_frame is not None
        self._on_frame(SampledFrame(views.pts, *self._jpeg.encode(views.frame, self.decoder.facts)))

    def _flush(self) -> None:
        if not self._fill:
            return
        t, motion, colour = np.array(self._times), self._motion[: self._fill], self._colour[: self._fill]
        views = batch(t, motion, colour)
        for meter in self._meters.by_batch:
            meter.push(views)
        if self._seam_buffer is not None:
            self._seam_buffer.push(Strip(t, motion, colour.copy()))
        self._motion = np.empty_like(self._motion)  # a new array, since meters may keep the batch
        self._times = []
        self._fill = 0
