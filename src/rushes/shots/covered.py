"""Which frames of a video were decoded, where a list gave spans and only the stretches that hold them were; and whether other spans lie in
them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from rushes.records import ListedSpan, Row
from rushes.shots.find import I64
from rushes.shots.listed import asked_ticks, usual_step


@dataclass(frozen=True, slots=True)
class Covered:
    """The stretches of a video that a stage has.

    Attributes:
        frames: (first, stop) of each, by index, in order and apart.
        ticks: of each the pts between which no other frame lies: every frame with start <= pts < end is in it. None: it begins or ends with
            the video.
        step: the usual step between the frames of the whole video, ticks.
        around: the stretches hold what lies around spans, too, as `shots.within_spans` needs it.
    """

    frames: tuple[tuple[int, int], ...]
    ticks: tuple[tuple[int | None, int | None], ...]
    step: int
    around: bool

    @classmethod
    def of(cls, frames: Sequence[tuple[int, int]], pts: I64, *, around: bool) -> Covered:
        """The stretches `frames` of a video with the given pts (n,)."""
        ticks = (
            (int(pts[first - 1]) + 1 if first else None, int(pts[stop]) if stop < len(pts) else None) for first, stop in frames
        )  # fmt: skip
        return cls(tuple(frames), tuple(ticks), usual_step(pts), around)

    @classmethod
    def of_text(cls, text: str) -> Covered:
        """What `text` gave."""
        found = json.loads(text)
        frames, ticks = (tuple((part[at], part[at + 1]) for part in found["parts"]) for at in (0, 2))
        return cls(frames, ticks, found["step"], found["around"])

    def text(self) -> str:
        """As the text of a column: a JSON object."""
        parts = [[*frames, *ticks] for frames, ticks in zip(self.frames, self.ticks, strict=True)]
        return json.dumps({"parts": parts, "step": self.step, "around": self.around}, separators=(",", ":"))

    def holds(self, spans: Iterable[ListedSpan], first_pts: int, time_base: Fraction) -> bool:
        """Whether each of these spans lies in one of the stretches."""
        return all(self._holds(span, first_pts, time_base) for span in spans)

    def _holds(self, span: ListedSpan, first_pts: int, time_base: Fraction) -> bool:
        low, high = Fraction(span.start), Fraction(span.end)
        if span.unit == "frame":
            return any(
                first <= low and (high <= stop or end is None) for (first, stop), (_, end) in zip(self.frames, self.ticks, strict=True)
            )
        low, high = asked_ticks(span, first_pts, self.step, time_base)
        return any((start is None or low > start - 1) and (end is None or high <= end) for start, end in self.ticks)


def asked_s(spans: Iterable[ListedSpan], video: Row | None) -> float:
    """About how many seconds some spans of a video hold; infinity where that is not known before the video is read.

    Args:
        spans: of its list.
        video: its row of `videos`, if it was scanned before.
    """
    units = {"s": 1.0} if video is None else {"s": 1.0, "pts": float(Fraction(video["time_base"])), "frame": 1 / video["fps"]}
    reached = total = 0.0
    for span in sorted(spans, key=lambda span: Fraction(span.start)):
        if span.unit not in units:
            return math.inf
        first = video["first_pts"] if video is not None and span.unit == "pts" else 0
        start, end = ((float(Fraction(at)) - first) * units[span.unit] for at in (span.start, span.end))
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def spans_text(frames: Sequence[tuple[int, int]], pts: I64, end_pts: int) -> str:
    """Stretches of a video for people: a JSON list of [start_pts, end_pts), ticks."""
    ends = np.append(pts, end_pts)
    return json.dumps([[int(pts[first]), int(ends[stop])] for first, stop in frames], separators=(",", ":"))
