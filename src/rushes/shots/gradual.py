"""Gradual transitions: dissolves from the blend test, fades through black and white from mean and deviation of luma."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

MIN_END_DIFFERENCE = 0.25
MAX_MIDDLE = 0.32
MAX_QUARTER = 0.35
MIN_AREA = 0.78
MIN_DEVIATION = 2.0
"""Bounds of the blend test's e, r, q, a and s. True dissolves of the footage on which they were chosen: e 0.6 to 3, r 0.02 to 0.3, q to
0.3, a 0.8 to 0.99; waves: e to 1.1, r from 0.15, a mostly below 0.7."""
CLEAN, CLEAN_AREA = 0.2, 0.66
"""Where both residuals are at most CLEAN, so much of the picture is enough: the two shots may be alike in part."""
MAX_MOVED = 1.0
"""The sum of m and r is at most this: where the ends are one scene that has moved, the camera pans while its exposure changes. It was at
most 0.9 in true dissolves, and 1.08 to 1.2 there."""
SAME_DETAIL = 0.35
"""Two pictures whose detail correlates so are one scene in two lights, each of which may fall on a part of it. Of the two pictures at 492
cuts it was 0.25 at most, and mostly 0.4 to 0.95 where lamps, headlights, lightning and flares lit a scene (`scan/detail.py`)."""
TOP_CORRELATION = 0.9
CORRELATION_SLOPE = 0.9
"""The correlation c of the two ends must be below TOP_CORRELATION - CORRELATION_SLOPE * r: the worse the blend fits, the more the two shots
must differ."""
MOVING_END_DIFFERENCE, MOVING_MIDDLE, MOVING_QUARTER, MOVING_AREA, MOVING_CORRELATION = 0.3, 0.5, 0.45, 0.78, 0.45
"""Looser bounds, for shots that move fast. They hold only where the contrast dips well below that of the ends (MAX_DIP) and no frame
between the two ends looks like one after a hard cut (MIN_STEP_CORRELATION)."""
MOVING_FIT = 0.8
"""With looser bounds a ramp explains at least this share of the frames' way from one end to the other: waves go to and fro."""
MOST_END_DIFFERENCE = 4.0
"""With looser bounds e is at most this: where the means differ by so much more than the pictures, the exposure has changed."""
MAX_DIP, DIP_SLACK, DIP_OVER = 0.68, 0.22, 0.12
"""The luma variance of an even blend is (1 + c g) / 2 of the mean variance of its two ends, with g = 2 s_a s_b / (s_a^2 + s_b^2): a blend
of two different pictures has less contrast than they have. Neither motion nor a change of exposure or fire does that: the measured share is
within DIP_SLACK of the expected one, and where the blend fits less well (r above NOT_CLEAR) at most DIP_OVER above it, as waves are not."""
NOT_CLEAR = 0.15
"""See DIP_OVER."""
MIN_STEP_CORRELATION = 0.75
STEP_MARGIN_S = 0.1
"""No frame between the two ends, or within STEP_MARGIN_S of them, may have a lower correlation with the frame before; after hard cuts it is
below 0.65."""
MIN_LENGTH_S, MAX_LENGTH_S = 0.12, 3.5
"""Shortest and longest dissolve, seconds."""
AGREE_S = 0.15
"""A candidate within this time of the span of the best one belongs to the same transition, seconds."""
EDGE = 0.4
"""A transition starts at this quantile of its candidates' starts, and ends at 1 - EDGE of their ends. Where shots move, ramps are fitted a
little too short: with the median starts were 0.05 s late in the mean, and ends 0.03 s early."""
MIN_SUPPORT, FEW, STRANGERS = 3, 2, 1.0
"""Candidates that belong to a transition, mostly. Of FEW the best one must be clean (CLEAN), or its ends differ as pictures do that have
nothing in common (e; 1.13 on average). Where both shots move, a single frame may be the only one that has one whole picture before it and
one after it. It is enough where its ends differ so, but not by a change of exposure (MOST_END_DIFFERENCE), both show something
(FAIR_DEVIATION) and a ramp leads from one to the other (MOVING_FIT; 0.9 and more in nine of ten true dissolves that had no other candidate,
next to nothing in flicker)."""
FAIR_DEVIATION = 4.0
"""Least deviation of both ends where a single frame is enough, 8-bit levels: what a plainer picture shows, such as a sky, may be noise."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A gradual transition. `start`: index of the first blended frame; `end`: index of the first frame of the new shot alone."""

    start: int
    end: int
    kind: str
    """"dissolve" or "fade"."""


def dissolves(signals: Mapping[str, F32], t: F64) -> list[Transition]:
    """Dissolves in order of time, from the signals `blend_*`.

    Args:
        signals: float32 arrays of n frames.
        t: (n,) seconds, increasing.
    """
    e, r, q, a, c, s = (signals[f"blend_{name}"] for name in "erqacs")
    with np.errstate(invalid="ignore"):
        clean = (r <= CLEAN) & (q <= CLEAN)
        found = (e >= MIN_END_DIFFERENCE) & (r <= MAX_MIDDLE) & (q <= MAX_QUARTER) & ((a >= MIN_AREA) | clean & (a >= CLEAN_AREA))
        found &= c < TOP_CORRELATION - CORRELATION_SLOPE * r
        moving = (e >= MOVING_END_DIFFERENCE) & (e <= MOST_END_DIFFERENCE) & (r <= MOVING_MIDDLE) & (q <= MOVING_QUARTER)
        moving &= (a >= MOVING_AREA) & (c < MOVING_CORRELATION) & (signals["blend_f"] >= MOVING_FIT)
        share, expected = _dips(signals, t)
        found |= moving & (share < MAX_DIP) & _no_step(signals, t)
        over = share - expected
        found &= (s >= MIN_DEVIATION) & (np.abs(over) < DIP_SLACK) & ((r <= NOT_CLEAR) | (over < DIP_OVER))
        found &= (signals["blend_m"] + r <= MAX_MOVED) & ~(signals["blend_l"] >= SAME_DETAIL)
    rows = np.flatnonzero(found & np.isfinite(signals["blend_start"]))
    score = (e * (1 - r) * (1 - q))[rows]
    start = t[rows] + signals["blend_start"][rows]
    end = t[rows] + signals["blend_end"][rows]
    open_ = np.ones(len(rows), np.bool_)
    out = []
    for best in np.argsort(-score):
        if not open_[best]:
            continue
        lo, hi = start[best] - AGREE_S, end[best] + AGREE_S
        same = open_ & (t[rows] >= lo) & (t[rows] <= hi)
        open_ &= ~(same | ((start < end[best]) & (end > start[best])))
        if not _enough(signals, rows[best], int(same.sum())):
            continue
        strong = same & (score >= 0.7 * score[best])
        made = _transition(t, float(np.quantile(start[strong], EDGE)), float(np.quantile(end[strong], 1 - EDGE)), "dissolve")
        if made and MIN_LENGTH_S <= t[made.end] - t[made.start] <= MAX_LENGTH_S:
            out.append(made)
    return merge(out)


def _enough(signals: Mapping[str, F32], best: int, support: int) -> bool:
    """Whether so many candidates, of which `best` is the index of the best one's frame, show that there is a transition."""
    e, r, s, f = (signals[f"blend_{name}"][best] for name in "ersf")
    if support >= MIN_SUPPORT:
        return True
    if support >= FEW:
        return bool(r <= CLEAN or e >= STRANGERS)
    return bool(STRANGERS <= e <= MOST_END_DIFFERENCE and s >= FAIR_DEVIATION and f >= MOVING_FIT)


def _dips(signals: Mapping[str, F32], t: F64) -> tuple[F64, F64]:
    """(n,) the luma variance at each frame as a share of the mean variance of its two ends, at the frame's best half-width; and the share
    that a blend of them would have.
    """
    variance = signals["fade_std"].astype(np.float64) ** 2
    middles = (t[1:] + t[:-1]) / 2
    k = np.nan_to_num(signals["blend_k"].astype(np.float64))
    before, after = (variance[np.searchsorted(middles, t + way * k)] for way in (-1, 1))
    ends = np.maximum((before + after) / 2, 1e-3)
    return variance / ends, (1 + signals["blend_c"] * np.sqrt(before * after) / ends) / 2


def _no_step(signals: Mapping[str, F32], t: F64) -> npt.NDArray[np.bool_]:
    """(n,) whether all frames between the two ends are like the frame before them, as the first frame after a hard cut is not."""
    breaks = np.concatenate(([0], np.cumsum(signals["jump_c"] < MIN_STEP_CORRELATION)))
    k = np.nan_to_num(signals["blend_k"].astype(np.float64)) + STEP_MARGIN_S
    first, stop = np.searchsorted(t, t - k), np.searchsorted(t, t + k, "right")
    return np.asarray(breaks[stop] == breaks[first])


def merge(transitions: list[Transition]) -> list[Transition]:
    """The transitions in order; those that overlap or touch become one."""
    out: list[Transition] = []
    for one in sorted(transitions, key=lambda x: (x.start, x.end)):
        if out and one.start <= out[-1].end:
            before = out.pop()
            one = Transition(before.start, max(before.end, one.end), before.kind if before.kind == one.kind else "fade")
        out.append(one)
    return out


def _transition(t: F64, start_s: float, end_s: float, kind: str) -> Transition | None:
    """Snap a ramp to frames: from the first one after its start, which is blended, to the first one at or after its end (1 ms of slack)."""
    start, end = int(np.searchsorted(t, start_s + 1e-3)), min(int(np.searchsorted(t, end_s - 1e-3)), len(t) - 1)
    return Transition(start, end, kind) if end > start else None
