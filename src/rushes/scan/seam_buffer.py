"""The small views of a segment's first and last seconds: from them the signals around a seam are made as if there were none."""

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
    """Strips that follow each other, as one; at least one."""
    return Strip(*(np.concatenate([getattr(s, name) for s in strips]) for name in ("t", "motion", "colour")))


class SeamBuffer:
    """Keeps the views that the seams of a segment need, and no others.

    The *head* goes from the first frame so far that all signals that look back over the seam can be made, with what they look forward to.
    The *tail* begins with the first frame that is looked at by a signal that looks on over the seam. How far signals look is the blend
    test's to say; no other meter looks farther. Both are a few seconds, longer where frames are rare.

    Args:
        head, tail: whether there is a seam at the beginning, and at the end.
    """

    def __init__(self, *, head: bool, tail: bool) -> None:
        self._want_tail = tail
        self._head: list[Strip] = []
        self._head_n: int | None = None if head else 0
        self._tail: list[Strip] = []
        self._tail_start = 0
        self._n = 0

    def push(self, strip: Strip) -> None:
        """Takes the next frames, at least one; the arrays are kept."""
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
        """Head and tail; they do not overlap. None where there is no frame to keep."""
        head_n = self._n if self._head_n is None else self._head_n
        head = joined(self._head).part(0, head_n) if head_n else None
        if not self._tail:
            return head, None
        tail = joined(self._tail)
        start = max(needed_from(tail.t, unsettled_from(tail.t)), head_n - self._tail_start)
        return head, tail.part(start, len(tail)) if start < len(tail) else None


def _head_length(t: F64) -> int | None:
    """Frames of the head; None while more are to come."""
    settled = settled_from(t)
    if settled == len(t):
        return None
    enough = np.flatnonzero(t - LOOK_S > t[settled - 1])
    return int(enough[0]) + 1 if len(enough) else None
