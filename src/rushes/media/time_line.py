"""The time line of a video: the stamps of its frames as they should be, where recorders, joints and damage broke them.

Three things break time. An *outlier* is a stamp that is far from those of both its neighbours, or missing: it is mended alone, and the
frames after it keep their own stamps. A *new clock* begins where the stamps go back and then go on: all of them are moved by one offset, so
that no step changes. A *hole* is a long step forward during which the camera was off: stamps stay as they are, but no clip holds any of it
(`media/holes.py`). Stamps that increase are never changed, however uneven they are, except those of a first or a last frame that is alone.

Everything here is decided from the stamps of a few frames before and after, so that a segment of a video decides as the whole does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Generic, TypeVar

T = TypeVar("T")

LOOK = 5
"""Frames looked at after one whose stamp is in doubt; so many outliers in a row are known as such. They are held in memory meanwhile."""
RECENT = 15
"""The usual step is the median of so many steps before a frame."""
LEAP = 1.5
"""A step up to this many usual ones is in no doubt: 3 and 2 fields take turns in film that was brought to 30 frames a second."""
FAR = 4 * LOOK
"""A stamp that lies more usual steps than this ahead is no part of the old clock where a new one begins beside it."""
ALONE_S, ALONE_STEPS = 30.0, 20
"""The first or last frame of a video is an outlier when the step beside it is longer than this, seconds, and than so many usual steps."""
PACKETS = 64
"""Packets before a new clock among which the last pictures of the old one are sought: decoders hold back at most 16 pictures, of at most
two packets each (H.264, A.3.1; H.265, A.4.1); this is twice that."""
WRAP_33_BITS = 1 << 33
"""MPEG's time stamps count modulo this (ISO/IEC 13818-1, 2.4.3.7)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """From `start_pts` on, up to the next piece, a pts is the file's own stamp plus `offset`. Both in ticks."""

    start_pts: int
    offset: int


@dataclass(slots=True)
class _Held(Generic[T]):
    """A frame whose pts is not known yet: its stamp in the file, and the same free of wraps; None where it has none."""

    item: T
    raw: int | None
    stamp: int | None


class TimeLine(Generic[T]):
    """Gives each frame its pts, one after the other: pts increase strictly, and ordinary stamps are pts.

    Args:
        time_base: seconds of a tick.
        step: ticks between frames, assumed until frames show it; at least 1.
        wrap: the stamps count modulo this; 0: they do not wrap.
        begins, ends: whether the first and last frames given are those of the video; of a segment they may not be.

    Attributes:
        pieces: how pts came of stamps, in order; the first one begins at the first frame.
        n_mended: frames with a pts of their own, because their stamp was missing or an outlier.
        n_clocks: how often a new clock began.
        mended: index of the first and of the last frame that was mended; None: no frame was.
        n: frames given so far.
    """

    def __init__(self, time_base: Fraction, step: int, *, wrap: int = 0, begins: bool = True, ends: bool = True) -> None:
        self.pieces: list[Piece] = []
        self.n_mended = self.n_clocks = self.n = 0
        self.mended: tuple[int, int] | None = None
        self._alone = ALONE_S / time_base
        self._step = step
        self._wrap = wrap
        self._begins, self._ends = begins, ends
        self._steps: deque[int] = deque(maxlen=RECENT)
        self._packets: deque[int] = deque(maxlen=4 * PACKETS)
        self._held: list[_Held[T]] = []
        self._last: int | None = None
        self._offset = 0  # from stamps without wraps to pts
        self._sound = 0  # from stamps as the file has them to pts, at the last frame that was not mended

    def saw(self, stamp: int) -> None:
        """Notes the stamp of a packet. Packets come in decoding order, before their frames, and also those that give no frame."""
        self._packets.append(stamp)

    def push(self, item: T, stamp: int | None) -> list[tuple[T, int]]:
        """Takes the next frame in order of presentation, with its stamp in the file; gives the frames whose pts is now known."""
        held = _Held(item, stamp, None if stamp is None else self._unwrapped(stamp))
        if not self._held and self._last is not None and held.stamp is not None and self._steps:
            pts = held.stamp + self._offset
            if 0 < pts - self._last <= LEAP * min(self._steps):  # `_next` says the same of such a step, and takes much longer
                return [self._given(held, pts)]
        self._held.append(held)
        return self._settled(final=False)

    def flush(self) -> list[tuple[T, int]]:
        """Gives the frames that are left, when no further one comes."""
        return self._settled(final=True)

    def _unwrapped(self, stamp: int) -> int:
        if not self._wrap or self._last is None:
            return stamp
        here, half = self._last - self._offset, self._wrap // 2
        return here + (stamp - here + half) % self._wrap - half

    def _settled(self, *, final: bool) -> list[tuple[T, int]]:
        out: list[tuple[T, int]] = []
        while self._held:
            known = self._next(final)
            if not known:
                break
            for pts in known:
                out.append(self._given(self._held.pop(0), pts))
        return out

    def _given(self, held: _Held[T], pts: int) -> tuple[T, int]:
        if held.stamp is None or held.stamp + self._offset != pts:
            self.n_mended += 1
            self.mended = (self.n if self.mended is None else self.mended[0], self.n)
        elif held.raw is not None:
            self._sound = pts - held.raw
        if self._last is not None:
            self._steps.append(pts - self._last)
        offset = self._sound if held.raw is None else pts - held.raw
        if not self.pieces or self.pieces[-1].offset != offset:
            self.pieces.append(Piece(pts, offset))
        self._last = pts
        self.n += 1
        return held.item, pts

    @property
    def usual(self) -> int:
        """The usual step at the last frame given, ticks."""
        return max(1, int(median(self._steps))) if self._steps else self._step

    def _next(self, final: bool) -> list[int]:
        """The pts of the first held frames, as many as can be told; none: more frames have to come."""
        line = [None if h.stamp is None else h.stamp + self._offset for h in self._held]
        first, later = line[0], line[1:]
        if self._last is None:
            return self._begin(first, [s for s in later if s is not None], final or len(later) >= LOOK)
        if first is not None and 0 < first - self._last <= LEAP * self.usual:
            return [first]
        if not final and len(later) < LOOK:
            return []
        if first is not None and first <= self._last and self._is_new_clock(first, later):
            self._begin_clock(self._held[0])
            return self._next(final)
        last = self._last
        above = first if first is not None and first > last else None
        back = [(s, k) for k, s in enumerate(later, 1) if s is not None and s > last and (above is None or s <= above)]
        if back:  # those before it are outliers
            return _between(last, *min(back))
        if above is not None and above - last > FAR * self.usual and all(s is None or s < above for s in later):
            low = next((k for k, s in enumerate(later, 1) if s is not None), 0)  # a new clock, after outliers
            if low:
                return [last + self.usual * k for k in range(1, low + 1)]
        if above is None or (final and not later and self._ends and self._is_alone(above - last, self.usual)):
            return [last + self.usual]
        return [above]

    def _begin(self, first: int | None, later: Sequence[int], enough: bool) -> list[int]:
        """The pts of the very first frame: its stamp, unless it is missing or lies apart from two stamps that follow each other."""
        if first is not None and not self._begins:
            return [first]
        if len(later) < 2 and not enough:
            return []
        if first is None:
            return [later[0] - self._step if later else 0]
        if len(later) >= 2:
            beside, step = later[0] - first, later[1] - later[0]
            apart = later[1] <= first if beside <= 0 else self._is_alone(beside, step)
            if step > 0 and apart:
                return [later[0] - step]
        return [first]

    def _is_alone(self, step: int, usual: int) -> bool:
        return step > self._alone and step > ALONE_STEPS * usual

    def _is_new_clock(self, first: int, later: Sequence[int | None]) -> bool:
        """Whether stamps that go back to `first` go on from there, and do not come back to the old clock. A step back of less than a usual
        one is none: two frames have taken each other's place, or one stamp.
        """
        assert self._last is not None
        follow = [s for s in later if s is not None]
        if first - self._last > -self.usual or not follow or follow[0] <= first:
            return False
        back = next((k for k, s in enumerate(follow) if s > self._last), None)
        if back is None or any(s <= self._last for s in follow[back:]):  # of these two, the stamps that seem to come back are outliers
            return True
        if back >= 2 and follow[back] - self._last > FAR * self.usual:
            return True
        way = [first, *follow[: back + 1]]
        steps = [b - a for a, b in pairwise(way)]
        return min(steps) > 0 and max(steps) <= LEAP * (min(steps) if len(steps) > 1 else self.usual)

    def _begin_clock(self, held: _Held[T]) -> None:
        """Moves the line such that the new clock's first frame comes one step after the last picture of the old one.

        Last picture and step are taken from the packets, not from the frames, so that skipped frames make no difference.
        """
        assert self._last is not None and held.stamp is not None and held.raw is not None
        before = self._last - self._sound
        packets = list(self._packets)
        at = next((k for k in reversed(range(len(packets))) if packets[k] == held.raw), 0)
        reach = (PACKETS // 4) * self.usual
        old = sorted({p for p in packets[max(0, at - PACKETS) : at] if abs(p - before) <= reach})
        end = self._last + self.usual
        if len(old) > 1 and old[-1] >= before:
            steps = [b - a for a, b in pairwise(old)]
            end = self._last + old[-1] - before + min(steps[-1], int(median(steps)))
        self._offset = end - held.stamp
        self.n_clocks += 1


def _between(last: int, after: int, n: int) -> list[int]:
    """Pts for n frames between `last` and `after`, evenly; where there is no room, one tick after each other."""
    if after - last <= n:
        return [last + k for k in range(1, n + 1)]
    return [last + (after - last) * k // (n + 1) for k in range(1, n + 1)]
