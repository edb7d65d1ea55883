"""The one pass over some stretches of a video: it gives for their frames what a pass over the whole video gives, and NaN for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushes.media.decode import Decoder
from rushes.media.frame_index import FrameIndex
from rushes.media.holes import holes_of
from rushes.media.segments import Segment
from rushes.media.time_line import Piece
from rushes.recipe import Recipe
from rushes.records import VideoFacts
from rushes.scan.meters import all_columns, make_meters
from rushes.scan.one_pass import Pass, SampledFrame, Scan, end_of

Stretch = tuple[int, int]
"""Frames [first, stop) of a video, by index; decoding can begin at the first."""


def stretches_of(wanted: Sequence[Stretch], index: FrameIndex, have: Sequence[Sequence[Stretch]] = ((),)) -> list[Stretch]:
    """The stretches to decode so that every wanted piece lies in one stretch, in order and apart from each other.

    Args:
        wanted: frames [first, stop), in any order.
        index: the frames of the video.
        have: the stretches that each stage has already. A piece that lies in one of them, of every stage, is not wanted any more. One that
            overlaps a new stretch is decoded again with it, so that the signals of every stretch come from one pass.
    """
    missing = [piece for piece in wanted if not all(any(_holds(one, piece) for one in of_stage) for of_stage in have)]
    found: list[Stretch] = sorted((index.entry_before(first), stop) for first, stop in missing)
    old = {one for of_stage in have for one in of_stage}
    while True:
        found = _joined([*found, *(one for one in old if any(_overlap(one, new) and not _holds(new, one) for new in found))])
        if not any(_overlap(one, new) and not _holds(new, one) for one in old for new in found):
            return found


def kept_of(old: Sequence[Stretch], new: Sequence[Stretch]) -> list[Stretch]:
    """The old stretches that no new one holds."""
    return [one for one in old if not any(_overlap(one, other) for other in new)]


def _holds(outer: Stretch, inner: Stretch) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _overlap(one: Stretch, other: Stretch) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _joined(parts: Sequence[Stretch]) -> list[Stretch]:
    """Stretches that overlap or touch become one."""
    found: list[Stretch] = []
    for first, stop in sorted(parts):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((first, stop))
    return found


def scan_stretches(
    source: str | Any,
    recipe: Recipe,
    index: FrameIndex,
    stretches: Sequence[Stretch],
    *,
    uri: str,
    size_bytes: int = 0,
    stream: int | None = None,
    on_frame: Callable[[SampledFrame], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Scan | str:
    """Decodes each stretch once and computes all signals, as `one_pass.scan` does for a whole video. Besides, the video's first frame is
    decoded, which completes the facts.

    Args:
        source: a path, or a seekable file object.
        recipe: its tables `scan` and `frames` are used. Its `scan.detectors` are empty and `frames.at` is "grid": the others look back
            without bound.
        index: the frames of the video.
        stretches: from `stretches_of`.
        uri: the video's name in errors.
        size_bytes: size of the file, for the facts.
        stream: index of the stream in the file; None: the film.
        on_frame: is given the frames to store as they are made.
        progress: called with the seconds decoded so far.

    Returns:
        The scan; or why the stretches may differ from those of a pass over the whole video, in words.

    Raises:
        ProbeError: no readable container or no video in it.
        DecodeError: no frame of a stretch could be decoded, or it is damaged and does not begin with the video.
    """
    video = _Video(source, index, uri, size_bytes, stream, progress)
    pts, n = index.pts, len(index.pts)
    with video.opened(None, 0.0) as decoder:
        next(iter(decoder), None)
        facts = decoder.facts
    signals = {column.name: np.full(n, np.nan, np.float32) for column in all_columns(recipe.scan)}
    found = Scan(
        facts, index.mode, pts, signals, end_of(pts, index.last_duration), index.n_packets, n_corrupt=0, n_repaired_pts=0, n_new_clocks=0,
        pieces=(Piece(int(pts[0]), 0),), holes=tuple(holes_of(pts, facts.time_base, recipe.scan.hole_s)), covered=tuple(stretches),
    )  # fmt: skip
    done_s = 0.0
    for first, stop in stretches:
        if why := _scan_into(found, (first, stop), video, recipe, on_frame, done_s):
            return why
        done_s += found.length_s(first, stop)
    return found.with_measured_facts()


@dataclass(frozen=True, slots=True)
class _Video:
    """What opens a video anew for each of its stretches."""

    source: str | Any
    index: FrameIndex
    uri: str
    size_bytes: int
    stream: int | None
    progress: Callable[[float], None] | None

    def opened(self, segment: Segment | None, done_s: float) -> Decoder:
        """A decoder of a part of it; `done_s`: seconds that were decoded before."""
        if not isinstance(self.source, str):
            self.source.seek(0)
        tell = self.progress
        return Decoder(
            self.source, uri=self.uri, size_bytes=self.size_bytes, mode=self.index.mode, segment=segment, stream=self.stream,
            progress=(lambda s: tell(done_s + s)) if tell else None,
        )  # fmt: skip


def _scan_into(
    found: Scan, stretch: Stretch, video: _Video, recipe: Recipe, on_frame: Callable[[SampledFrame], None] | None, done_s: float
) -> str | None:
    """Decodes a stretch, and writes its signals into those of the whole video; gives why it may differ from a pass over the whole."""
    (first, stop), pts = stretch, found.pts
    starts, ends = first == 0, stop == len(pts)
    at, until = None if starts else int(pts[first]), None if ends else int(pts[stop])
    last_packet = until if stop in video.index.entries else None  # packets after another key frame may be of frames before it
    with video.opened(Segment(0, int(pts[0]), at, last_packet, at), done_s) as decoder:
        one = Pass(
            decoder, recipe, on_frame, lambda facts: make_meters(facts, recipe), anchor=int(pts[0]),
            end_pts=found.end_pts if until is None else until, before=None if starts else int(pts[first - 1]),
            most=None if ends else stop - first,
        )  # fmt: skip
        one.run()
        if why := _misfit(decoder, one, video.index, stretch, found.facts):
            return why
    for name, row in one.signals().items():
        found.signals[name][first:stop] = row
    return None


def _misfit(decoder: Decoder, one: Pass, index: FrameIndex, stretch: Stretch, facts: VideoFacts) -> str | None:
    """Why a stretch may differ from what a pass over the whole video gives, in words; None where it does not."""
    first, stop = stretch
    if one.pts != index.pts[first:stop].tolist():
        return "its packets do not tell which frames it has"
    if decoder.n_corrupt or decoder.line.n_mended or decoder.line.n_clocks:
        return "a part of it that spans hold is damaged"
    if decoder.facts != facts:
        return "size, format or orientation of the picture change"
    if decoder.reordering != decoder.seams.reordering:
        return "the decoder learnt late that it held back too few frames to give them in order"
    if facts.codec == "h264" and one.n_interlaced:  # libav's flag may depend on frames before
        return "it is interlaced"
    if stop == len(index.pts) and decoder.last_duration != index.last_duration:
        return "its packets do not tell how long its last frame is shown"
    return None
