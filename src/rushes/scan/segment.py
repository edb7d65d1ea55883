"""The one pass over a segment of a video: it gives what a pass over a whole video gives, and what `stitch.py` needs to join segments
exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.media.decode import Decoder, Seams
from rushes.media.holes import holes_of, ticks_of
from rushes.media.segments import Segment
from rushes.media.time_line import Piece
from rushes.recipe import Recipe
from rushes.records import Mode, VideoFacts
from rushes.scan.meters import make_meters
from rushes.scan.one_pass import Pass, SampledFrame
from rushes.scan.seam_buffer import SeamBuffer, Strip
from rushes.scan.sharpness import Edges


@dataclass(frozen=True, slots=True)
class Taken:
    """The frames that a grid in time picked in a segment: their indices `rows`, and the cells of the first and the last of them; -1: none.

    The first pick counts only if no frame of the same cell was picked in an earlier segment, or where `again` says that it is shown where
    a later cell begins.
    """

    rows: tuple[int, ...]
    first: int
    last: int
    again: bool


@dataclass(frozen=True, slots=True)
class SegmentScan:
    """The result of one pass over a segment.

    Attributes:
        segment: the segment.
        facts, mode, pts, signals, n_packets, n_corrupt, n_repaired_pts, n_new_clocks, pieces: as in `one_pass.Scan`, of this segment alone.
        hole_ticks: length of the holes in it, up to the next segment's first frame.
        mended: index of the first and of the last frame whose stamp was mended; None: no frame's was.
        last_duration: of the last frame, in ticks; 0 where its packet does not say.
        seams: what the decoder saw that decides whether the segment can be joined.
        reordering: `Decoder.reordering` after the last frame.
        n_interlaced: number of interlaced frames.
        taken: the picks of each grid in time, by the class name of its meter, and "frames".
        n_frames: number of frames that `on_frame` was given.
        held: the first frame to store, which `on_frame` was not given, since an earlier segment may have one of the same cell. None in the
            video's first segment, and where there is none.
        head, tail: the small views around the seams, see `SeamBuffer`.
        edges: of the first frames measured on the grid, and of the last one, see `Grid.ends`.
    """

    segment: Segment
    facts: VideoFacts
    mode: Mode
    pts: npt.NDArray[np.int64]
    signals: dict[str, npt.NDArray[np.float32]]
    last_duration: int
    n_packets: int
    n_corrupt: int
    n_repaired_pts: int
    n_new_clocks: int
    pieces: tuple[Piece, ...]
    hole_ticks: int
    mended: tuple[int, int] | None
    seams: Seams
    reordering: int
    n_interlaced: int
    taken: dict[str, Taken]
    n_frames: int
    held: SampledFrame | None
    head: Strip | None
    tail: Strip | None
    edges: tuple[Edges, ...]

    @property
    def decoded_s(self) -> float:
        """Seconds from the segment's first frame to the next segment's, or to the end of its own last one, less the holes."""
        end = self.segment.end_pts if self.segment.end_pts is not None else int(self.pts[-1]) + max(1, self.last_duration)
        return float((end - int(self.pts[0]) - self.hole_ticks) * self.facts.time_base)


def scan_segment(
    source: str | Any,
    recipe: Recipe,
    segment: Segment,
    mode: Mode,
    *,
    uri: str,
    size_bytes: int = 0,
    stream: int | None = None,
    on_frame: Callable[[SampledFrame], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> SegmentScan:
    """Decodes one segment once and computes all signals, as `one_pass.scan` does for a whole video.

    Args:
        source: a path, or a seekable file object.
        recipe: its tables `scan` and `frames` are used.
        segment: from `segments.where_to_cut`, as is `mode`.
        mode: the mode in force in the whole video.
        uri: the video's name in errors.
        size_bytes: size of the file, for the facts.
        stream: index of the stream in the file; None: the film.
        progress: called with the seconds decoded so far.
        on_frame: is given the frames to store as they are made, except `SegmentScan.held`.

    Raises:
        ProbeError: no readable container or no video in it.
        DecodeError: no frame of the segment could be decoded, or it is damaged and not the video's first.
    """
    seam_buffer = SeamBuffer(head=segment.start_pts is not None, tail=segment.end_pts is not None)
    frames = _Frames(on_frame, hold=segment.start_pts is not None)
    with Decoder(source, uri=uri, size_bytes=size_bytes, mode=mode, progress=progress, segment=segment, stream=stream) as decoder:
        one = Pass(
            decoder, recipe, frames.add if on_frame else None, lambda facts: make_meters(facts, recipe),
            anchor=segment.first_pts, end_pts=segment.end_pts, seam_buffer=seam_buffer,
        )  # fmt: skip
        one.run()
        head, tail = seam_buffer.finish()
        line, pts = decoder.line, np.array(one.pts, np.int64)
        all_steps = pts if segment.end_pts is None else np.append(pts, segment.end_pts)
        return SegmentScan(
            segment=segment, facts=decoder.facts, mode=decoder.mode, pts=pts, signals=one.signals(),
            last_duration=decoder.last_duration, n_packets=decoder.n_packets, n_corrupt=decoder.n_corrupt,
            seams=decoder.seams, n_repaired_pts=line.n_mended, n_new_clocks=line.n_clocks, pieces=tuple(line.pieces), mended=line.mended,
            hole_ticks=ticks_of(holes_of(all_steps, decoder.time_base, recipe.scan.hole_s)),
            reordering=decoder.reordering, n_interlaced=one.n_interlaced,
            taken={name: Taken(tuple(c.rows), c.first, c.last, c.again) for name, c in one.grids.items()},
            n_frames=frames.n, held=frames.held, head=head, tail=tail, edges=one.edges(),
        )  # fmt: skip


class _Frames:
    """Passes sampled frames on to `on_frame`, except the first one of a segment that has a seam before it, which it holds."""

    def __init__(self, on_frame: Callable[[SampledFrame], None] | None, *, hold: bool) -> None:
        self._on_frame = on_frame
        self._hold = hold
        self.held: SampledFrame | None = None
        self.n = 0

    def add(self, frame: SampledFrame) -> None:
        if self._hold and self.held is None:
            self.held = frame
        elif self._on_frame is not None:
            self._on_frame(frame)
            self.n += 1
