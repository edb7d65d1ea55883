"""The footage drawn to scale: each video a strip, its clips coloured by verdict where they lie in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rushes.report.data import ReportData, Row

STRIPS = 40
"""Strips shown; the longest videos first."""
CELLS = 480
"""Steps a strip is drawn in: what lies closer together is not told apart."""
INKS = ("", "dropped", "failed", "kept")
"""What a cell shows, the later over the earlier."""


@dataclass(frozen=True)
class Run:
    """A piece of a strip in one colour, `x` and `width` in cells."""

    verdict: str
    x: int
    width: int


@dataclass(frozen=True)
class Strip:
    """One video: its row, its clips by verdict, its length against the longest (0 to 1), and the pieces."""

    video: Row
    kept: int
    clips: int
    length: float
    runs: Sequence[Run]


def strips(data: ReportData) -> list[Strip]:
    """The longest videos that were scanned, longest first."""
    shown = longest([video for video in data.videos if video["status"] == "done"])
    length_s = max(map(_length_s, shown), default=0.0)
    return [_strip(video, data.strips.get(video["video_id"], ()), length_s) for video in shown]


def longest(videos: Sequence[Row]) -> list[Row]:
    """The `STRIPS` videos of most footage, longest first."""
    return sorted(videos, key=lambda v: (-float(v.get("footage_s") or 0), str(v["uri"])))[:STRIPS]


def _length_s(video: Row) -> float:
    """Seconds of the whole video, also where only some stretches of it were decoded, which `footage_s` counts."""
    decoded_s, fps = float(video.get("footage_s") or 0), video.get("fps")
    return decoded_s if video.get("covered") is None or not fps else max(decoded_s, float(video["n_frames"]) / fps)


def _strip(video: Row, clips: Sequence[Row], longest: float) -> Strip:
    length_s = _length_s(video)
    cells = max(1, round(CELLS * length_s / longest)) if longest else 1
    inks = np.zeros(cells, np.int8)
    for clip in clips:
        if not length_s or clip.get("start_s") is None or clip.get("end_s") is None:
            continue
        first = min(cells - 1, max(0, int(clip["start_s"] / length_s * cells)))
        last = min(cells, max(first + 1, round(clip["end_s"] / length_s * cells)))
        inks[first:last] = np.maximum(inks[first:last], INKS.index(clip["verdict"]))
        if last < cells and last - first > 2:
            inks[last - 1] = 0
    kept = sum(1 for clip in clips if clip["verdict"] == "kept")
    return Strip(video, kept, len(clips), cells / CELLS, _runs(inks))


def _runs(inks: np.ndarray[tuple[int], np.dtype[np.int8]]) -> list[Run]:
    """Equal neighbours joined; blank cells left out."""
    edges = np.flatnonzero(np.diff(inks)) + 1
    starts = [0, *edges.tolist()]
    ends = [*edges.tolist(), len(inks)]
    return [Run(INKS[inks[a]], a, b - a) for a, b in zip(starts, ends, strict=True) if inks[a]]
