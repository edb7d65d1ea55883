"""Fades through black and white: the light and contrast of one picture sink together to nothing, and those of the next one rise.

They are found by a level L of the thumbnail's luma: for black L = deviation + max(mean - 16, 0), for white L = deviation + max(235 - mean,
0). A fade multiplies L by one gain, whatever the shot shows. L is near 0 in no real scene, except behind a covered lens.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rushes.shots.gradual import SAME_DETAIL, Transition, merge

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

BLACK, WHITE = 16.0, 235.0
"""Studio range, ITU-R BT.601."""
SIDE_S = 1.1
"""Longest side of a fade, seconds, so that fades of up to 2 s are found."""
MAX_TROUGH = 0.22
TROUGH_LEVEL = 25.0
"""Highest level at the lowest point of a fade, as a share of the lower side and in 8-bit levels. It is above 0, since the frame at the
bottom of a short fade may have been skipped."""
MIN_DEVIATION = 5.0
"""Least deviation of at least one end of a fade, 8-bit levels: plain colours that come and go are no shots."""
MIN_SIDE = 25.0
"""Least level of both sides, 8-bit levels: darker shots cannot be distinguished from noise."""
KNEE_S = 2.0
"""How far from the lowest point the end of a side is searched, seconds."""
LEFT_SHARE = 0.05
"""A side begins where the level has risen by this share of its whole rise."""
SLOPE_S = 0.12
"""The speed at which the level rises is measured over this time, seconds."""
SLOWED = 0.3
"""The end of a side is where the level rises at less than this share of its mean speed since the side began ..."""
MIN_KNEE = 0.3
"""... and has reached this share of the side's highest level."""
KNEE = 0.985
"""The side's last frame is the first one that has this share of the level reached there."""
MIN_RAMP_S = 0.12
"""Least length of the longer side, seconds: a black frame between two cuts is no fade."""
CUT_CORRELATION, CUT_LEVEL = 0.75, 0.5
"""A frame that is less like the one before it than this, while either has more than this share of the lower side's level, begins a shot: a
cut to a dark shot is no fade. In a fade the two shots meet where both are nearly gone."""
HOLD_LEVEL = 8.0
"""Highest level of a flat picture, 8-bit levels."""
HOLD_S = 1.0
"""A flat stretch of at least this time, seconds, is a shot of its own; what leads to it and out of it are two one-sided fades."""


def fades(y: F32, std: F32, detail: F32, correlation: F32, t: F64) -> list[Transition]:
    """Fades in order of time.

    Args:
        y: (n,) the signal `fade_y`, 8-bit levels, studio range.
        std: (n,) the signal `fade_std`, 8-bit levels.
        detail: (n,) the signal `fade_l`; null where the picture is not the flattest one near by.
        correlation: (n,) the signal `jump_c`; null counts as 1 (nothing changed).
        t: (n,) seconds, increasing.
    """
    found: list[Transition] = []
    for level in (std + np.maximum(y - BLACK, 0.0), std + np.maximum(WHITE - y, 0.0)):
        level = level.astype(np.float64)
        holds = _holds(level, t)
        found += _one_sided(level, t, holds)
        found += [x for x in _troughs(level, correlation, t) if not any(x.start < b and x.end > a for a, b in holds)]
    found = [x for x in found if max(std[x.start], std[x.end]) >= MIN_DEVIATION]
    return merge([x for x in found if not _still_seen(detail[x.start : x.end + 1])])


def _still_seen(detail: F32) -> bool:
    """Whether even the flattest picture of a fade shows the detail of those before and after it: lights went on and off, or fog came."""
    known = detail[~np.isnan(detail)]
    return len(known) > 0 and float(known.min()) >= SAME_DETAIL


def _troughs(level: F64, correlation: F32, t: F64) -> list[Transition]:
    """Two-sided fades around each deep local minimum of the level."""
    out: list[Transition] = []
    for i in np.flatnonzero(level <= TROUGH_LEVEL):
        if out and i <= out[-1].end:
            continue
        lo, hi = np.searchsorted(t, (t[i] - SIDE_S, t[i] + SIDE_S))
        side = min(level[lo : i + 1].max(), level[i:hi].max())
        near = slice(*np.searchsorted(t, (t[i] - 0.3, t[i] + 0.3)))
        if side < MIN_SIDE or level[i] > MAX_TROUGH * side or level[i] > level[near].min():
            continue
        start, end = _knee(level, t, int(i), -1), _knee(level, t, int(i), 1)
        if start is not None and end is not None and _gradual(level, t, start, end):
            cut = correlation[start + 1 : end + 1] < CUT_CORRELATION
            if not np.any(cut & (np.maximum(level[start:end], level[start + 1 : end + 1]) > CUT_LEVEL * side)):
                out.append(Transition(start, end, "fade"))
    return out


def _gradual(level: F64, t: F64, start: int, end: int) -> bool:
    """Whether at least one side of a fade takes `MIN_RAMP_S` and has frames at levels between its two ends."""
    trough = start + int(np.argmin(level[start : end + 1]))
    left = (t[trough] - t[start], level[start + 1 : trough], level[start])
    right = (t[end] - t[trough], level[trough + 1 : end], level[end])
    return any(lasts >= MIN_RAMP_S and np.any((part > 0.2 * top) & (part < 0.9 * top)) for lasts, part, top in (left, right))


def _knee(level: F64, t: F64, trough: int, way: int) -> int | None:
    """Index of the frame at the end of one side of a fade, before the lowest point (`way` -1) or after it (`way` 1).

    The level stops rising there: it rises at less than SLOWED of its mean speed so far. None where no such frame lies within KNEE_S.
    """
    if way < 0:
        mirrored = _knee(level[::-1], -t[::-1], len(t) - 1 - trough, 1)
        return None if mirrored is None else len(t) - 1 - mirrored
    stop = int(np.searchsorted(t, t[trough] + KNEE_S))
    side = level[trough : int(np.searchsorted(t, t[trough] + SIDE_S))].max()
    high = np.flatnonzero(level[trough:stop] > level[trough] + LEFT_SHARE * (side - level[trough]))
    if not len(high):
        return None
    leave = trough + max(int(high[0]) - 1, 0)
    for i in range(leave + 1, stop):
        ahead = min(max(int(np.searchsorted(t, t[i] + SLOPE_S)), i + 1), len(t) - 1)
        speed = (level[i] - level[leave]) / (t[i] - t[leave])
        now = (level[ahead] - level[i]) / max(t[ahead] - t[i], 1e-6)
        if level[i] >= MIN_KNEE * side and now < SLOWED * speed:
            return _first_at(level, leave + 1, ahead, KNEE * float(np.median(level[i : ahead + 1])))
    return None


def _first_at(level: F64, first: int, last: int, wanted: float) -> int:
    """Index of the first frame of the unbroken stretch of frames up to `last` that have at least the level `wanted`."""
    while last > first and level[last - 1] >= wanted:
        last -= 1
    return last


def _holds(level: F64, t: F64) -> list[tuple[int, int]]:
    """Half-open index ranges of flat stretches longer than HOLD_S."""
    flat = np.concatenate(([0], (level <= HOLD_LEVEL).astype(np.int8), [0]))
    starts, ends = np.flatnonzero(np.diff(flat) == 1), np.flatnonzero(np.diff(flat) == -1)
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if t[b - 1] - t[a] >= HOLD_S]


def _one_sided(level: F64, t: F64, holds: list[tuple[int, int]]) -> list[Transition]:
    """Fades into and out of the flat stretches."""
    out = []
    for first, stop in holds:
        start = _knee(level, t, first, -1) if first > 0 else None
        if start is not None and _gradual(level, t, start, first):
            out.append(Transition(start, first, "fade"))
        end = _knee(level, t, stop - 1, 1) if stop < len(t) else None
        if end is not None and _gradual(level, t, stop - 1, end):
            out.append(Transition(stop - 1, end, "fade"))
    return out
