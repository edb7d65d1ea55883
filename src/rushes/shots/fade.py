"""Fades through black and white: a picture whose light and contrast sink together to nothing, and another that rises.

For black the level is L = deviation + max(mean - 16, 0), for white L = deviation + max(235 - mean, 0), all of the thumbnail's luma. A fade
scales L by one gain, whatever the shot shows; no real scene has an L near 0, a covered lens excepted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rushes.shots.gradual import Transition, merge

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

BLACK, WHITE = 16.0, 235.0
"""Studio range, ITU-R BT.601."""
SIDE_S = 1.1
"""How long one side of a fade may take, seconds: fades of up to 2 s."""
MAX_TROUGH = 0.22
TROUGH_LEVEL = 25.0
"""The lowest level: at most this share of both sides, and this many 8-bit levels (a short fade with skipped frames misses the bottom)."""
MIN_DEVIATION = 5.0
"""At least one end of a fade shows something: plain colours that come and go are no shots, 8-bit levels."""
MIN_SIDE = 25.0
"""Both sides reach this level: darker shots cannot be told from noise."""
KNEE_S = 2.0
"""How far the end of a side is searched, seconds."""
LEFT_SHARE = 0.05
"""The level has left the bottom at this share of its rise."""
SLOPE_S = 0.12
SLOWED = 0.3
"""The fade ends where the level rises, over SLOPE_S, at less than this share of its mean speed so far ..."""
MIN_KNEE = 0.3
"""... not below this share of the side's level ..."""
KNEE = 0.985
"""... and there, at the first frame that has this share of the level reached."""
MIN_RAMP_S = 0.12
"""One side at least takes this long: a black frame between two cuts is no fade, seconds."""
HOLD_LEVEL = 8.0
HOLD_S = 1.0
"""A flat stretch longer than this is a shot of its own, with one-sided fades at its ends."""


def fades(y: F32, std: F32, t: F64) -> list[Transition]:
    """Fades in order of time.

    Args:
        y: (n,) the signal `fade_y`, 8-bit levels, studio range.
        std: (n,) the signal `fade_std`, 8-bit levels.
        t: (n,) seconds, increasing.
    """
    found: list[Transition] = []
    for level in (std + np.maximum(y - BLACK, 0.0), std + np.maximum(WHITE - y, 0.0)):
        level = level.astype(np.float64)
        holds = _holds(level, t)
        found += _one_sided(level, t, holds)
        found += [x for x in _troughs(level, t) if not any(x.start < b and x.end > a for a, b in holds)]
    return merge([x for x in found if max(std[x.start], std[x.end]) >= MIN_DEVIATION])


def _troughs(level: F64, t: F64) -> list[Transition]:
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
            out.append(Transition(start, end, "fade"))
    return out


def _gradual(level: F64, t: F64, start: int, end: int) -> bool:
    """Whether the level really passes through the middle: at least one side takes time, with frames in between."""
    trough = start + int(np.argmin(level[start : end + 1]))
    left = (t[trough] - t[start], level[start + 1 : trough], level[start])
    right = (t[end] - t[trough], level[trough + 1 : end], level[end])
    return any(lasts >= MIN_RAMP_S and np.any((part > 0.2 * top) & (part < 0.9 * top)) for lasts, part, top in (left, right))


def _knee(level: F64, t: F64, trough: int, way: int) -> int | None:
    """First frame outward (`way` -1: back, 1: on) where the level stops rising.

    That is where it rises by less than SLOWED of the mean speed since it left the bottom. None where that takes longer than KNEE_S.
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
    """First of the frames back from `last` in one stretch that have the level wanted."""
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
