"""Makes clips from cuts and transitions: half-open spans that cover the video, from which the guard is trimmed, and of which long ones are
split.

Without guard and split each clip starts where the clip before it ends, except that a gradual transition belongs to no clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from rushes.records import Span
from rushes.shots.gradual import Transition

Edge = Literal["video", "cut", "transition", "hole", "split", "list", "idle"]
"""What a clip's edge is: the video's own end, a hard cut, a gradual transition, a hole in time, a joint of a split shot, the edge of a span
of a list, or the end of a stretch in which nothing moves.
"""
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shot:
    """A clip: its span, its decoded frames, and what its edges are."""

    span: Span
    n_frames: int
    start: Edge
    end: Edge


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames [first, stop) by index; `stop` may be the number of frames."""

    first: int
    stop: int
    start: Edge
    end: Edge


def ticks(s: float, time_base: Fraction) -> Fraction:
    """A setting in seconds as ticks. It is exact: 0.1 s is one tenth and not the nearest binary fraction."""
    return Fraction(s).limit_denominator(1_000_000) / time_base


def absorb(cuts: npt.NDArray[np.intp], transitions: list[Transition], pts: I64, near: Fraction) -> tuple[list[int], list[Transition]]:
    """Removes the cuts and gaps that would leave a very short clip beside a transition.

    Cuts inside a transition are removed. Where a cut, or another transition, lies nearer than `near` ticks to a transition, the transition
    is extended to it.
    """
    left = [int(c) for c in cuts]
    spans: list[Transition] = []
    for one in transitions:
        while close := [c for c in left if _is_close(c, one, pts, near)]:
            one = replace(one, start=min(one.start, *close), end=max(one.end, *close))
            left = [c for c in left if c not in close]
        if spans and (one.start <= spans[-1].end or pts[one.start] - pts[spans[-1].end] < near):
            one = replace(spans.pop(), end=one.end)
        spans.append(one)
    return left, spans


def _is_close(cut: int, one: Transition, pts: I64, near: Fraction) -> bool:
    """Whether a cut lies in a transition or nearer than `near` ticks to it."""
    if cut < one.start:
        return bool(pts[one.start] - pts[cut] < near)
    return cut <= one.end or bool(pts[cut] - pts[one.end] < near)


def pieces(cuts: list[int], transitions: list[Transition], joints: list[int], n: int) -> list[Piece]:
    """The stretches of frames between cuts, transitions and joints of a video of n frames, in order, none empty."""
    marks: list[tuple[int, int, Edge]] = [(c, c, "cut") for c in cuts]
    marks += [(x.start, x.end, "transition") for x in transitions]
    marks += [(j, j, "split") for j in joints]
    out: list[Piece] = []
    first, edge = 0, "video"
    for stop, then, kind in [*sorted(marks), (n, n, "video")]:
        if stop > first:
            out.append(Piece(first, stop, edge, kind))  # type: ignore[arg-type]
        first, edge = max(first, then), kind
    return out


def guarded(piece: Piece, pts: I64, end_pts: int, guard: Fraction) -> Piece:
    """The piece less `guard` ticks at each edge that is a cut or a transition, moved inward to whole frames; its middle frame if none is
    left.
    """
    start_pts, stop_pts = int(pts[piece.first]), _pts_at(pts, piece.stop, end_pts)
    first, stop = piece.first, piece.stop
    if piece.start in ("cut", "transition"):
        first = int(np.searchsorted(pts, -(-(start_pts + guard) // 1)))
    if piece.end in ("cut", "transition"):
        stop = int(np.searchsorted(pts, int((stop_pts - guard) // 1), "right")) - 1
    if first >= stop:
        first = (piece.first + piece.stop) // 2
        stop = first + 1
    return replace(piece, first=first, stop=stop)


def split(piece: Piece, pts: I64, end_pts: int, longest: Fraction) -> list[Piece]:
    """The piece in the fewest equal parts (to within a frame) of at most `longest` ticks; the piece itself where that is 0 or not
    exceeded.
    """
    start = int(pts[piece.first])
    length = _pts_at(pts, piece.stop, end_pts) - start
    if not longest or length <= longest:
        return [piece]
    parts = int(-(-length // longest))
    wanted = [int((start + Fraction(length * i, parts)) // 1) for i in range(1, parts)]
    joints = sorted({int(np.searchsorted(pts, w, "right")) - 1 for w in wanted} - {piece.first})
    edges = [piece.first, *joints, piece.stop]
    kinds: list[Edge] = [piece.start, *(["split"] * len(joints)), piece.end]  # type: ignore[list-item]
    return [Piece(a, b, x, y) for a, b, x, y in zip(edges, edges[1:], kinds, kinds[1:], strict=False)]


def shot(piece: Piece, pts: I64, end_pts: int) -> Shot:
    """The clip of a piece."""
    span = Span(int(pts[piece.first]), _pts_at(pts, piece.stop, end_pts))
    return Shot(span, piece.stop - piece.first, piece.start, piece.end)


def _pts_at(pts: I64, index: int, end_pts: int) -> int:
    return end_pts if index >= len(pts) else int(pts[index])
