"""Keeps the small views of a segment's first and last seconds, from which the signals around a seam between two segments are computed as in
a scan of the whole video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rushes.media.views import U8
from rushes.scan.blend import LOOK_S, needed_from, settled_from, unsettled_from
from rushes.scan.ramp import F64


@dataclass(frozen=True, slots=True)
class Strip:
    """Small views of n consecutive frames: times (n,) in seconds since the video's first pts, `Views.motion` (n, h, w) and `Views.colour`
    (n, 2, h / 2, w / 2).
    """

    t: F64
    motion: U8
    colour: U8

    def __len__(self) -> int:
        return len(self.t)

    def part(self, start: int, stop: int) -> Strip:
        """Frames [start, stop), without a copy."""
        return Strip(self.t[start:stop], self.motion[start:stop], self.colour[start:stop])


def joined(strips: Sequence[Strip]) -> Strip:
    """One strip of the strips given, at least one, which follow each other."""
    return Strip(*(np.concatenate([getattr(s, name) for s in strips]) for name in ("t", "motion", "colour")))


class SeamBuffer:
    """Keeps the small views of the frames around the seams of a segment, and no others.

    Head: every frame, from the segment's first one on, that is read for a signal whose computation crosses the seam before the segment.
    Tail: every frame, up to the segment's last one, that is read for a signal whose computation crosses the seam after it. The blend test
    reads frames from farther away than any other meter, so its reach (`LOOK_S`) decides. Both are a few seconds long, longer where frames
    are rare.

    Args:
        head: whether there is a seam before the segment.
        tail: whether there is a seam after it.
    """

    def __init__(self, *, head: bool, tail: bool) -> None:
        self._want_tail = tail
        self._head: list[Strip] = []
        self._head_n: int | None = None if head else 0
        self._tail: list[Strip] = []
        self._tail_start = 0
        self._n = 0

    def push(self, strip: Strip) -> None:
        """Takes the next frames, at least one. Their arrays are kept, not copied."""
        self._n += len(strip)
        if self._head_n is None:
            self._head.append(strip)
            self._head_n = _head_length(np.concatenate([s.t for s in self._head]))
        if not self._want_tail:
            return
        self._tail.append(strip)
        t = np.concatenate([s.t for s in self._tail])
        spare = needed_from(t, unsettled_from(t))
        while len(self._tail[0]) <= spare:
            gone = len(self._tail.pop(0))
            spare -= gone
            self._tail_start += gone

    def finish(self) -> tuple[Strip | None, Strip | None]:
        """(head, tail), which do not overlap; None where no frame is kept."""
        head_n = self._n if self._head_n is None else self._head_n
        head = joined(self._head).part(0, head_n) if head_n else None
        if not self._tail:
            return head, None
        tail = joined(self._tail)
        start = max(needed_from(tail.t, unsettled_from(tail.t)), head_n - self._tail_start)
        return head, tail.part(start, len(tail)) if start < len(tail) else None


def _head_length(t: F64) -> int | None:
    """Number of frames in the head; None while frames that belong to it are still to come. `t`: times of all frames so far, seconds."""
    settled = settled_from(t)
    if settled == len(t):
        return None
    enough = np.flatnonzero(t - LOOK_S > t[settled - 1])
    return int(enough[0]) + 1 if len(enough) else None
