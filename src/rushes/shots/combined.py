"""Hard cuts by three tests: the change stands out in time, it lasts, and the structure of the picture changes.

The ratio of the adaptive detector finds sudden changes. Some sudden changes are no cuts: a flash (undone within 0.3 s), a light that is
switched (the structure stays), and a stutter (frozen frames, then a jump, repeatedly). A change lasts when it is large compared with what
motion changes within 0.2 s around it. Changes are those of luma, as shares of the contrast (`scan/blend.py`), so that colour, light and
contrast do not matter. The constants were chosen on footage joined with known cuts and on single shots (docs/shots.md).
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from rushes.shots.adaptive import RATIO, WINDOW
from rushes.shots.gradual import SAME_DETAIL

MIN_CHANGE = 0.22
"""Least change of a cut since the frame before. Two pictures that have nothing in common, and equal means, differ by 1.13 of the contrast:
the mean absolute difference of two normal values, 2 / sqrt(pi)."""
STRONG_CHANGE = 0.45
"""A change that may be a cut although another one is near."""
NEAR_S = 0.35
"""A cut's change is compared with that of the frames within this time on both sides, seconds."""
LONGER = 2.0
"""A frame may come longer after the one before it than those around it do: fast mode skipped a frame, or the frame rate varies. Motion then
changes more, so the others' changes are counted as they would be over as long a time, which is at most LONGER times as much: what a moving
picture changes does not grow with time for ever."""
USUAL_S = 0.6
"""The usual lasting change is the median over the frames within this time on both sides, seconds."""
MIN_STANDOUT = 1.2
"""Least ratio of a cut's change to the largest other change within `NEAR_S`."""
STRONG_STANDOUT = 0.7
"""The same where the change is STRONG_CHANGE or more: lower, since two cuts may follow each other closely."""
MIN_LASTING, MIN_UNUSUAL, MAX_CORRELATION = 0.12, 1.7, 0.9
"""Bounds of a cut: least lasting change; least ratio of it to the usual one; correlation of the pictures before and after below this."""
LEAST_USUAL = 0.01
"""The usual lasting change is taken for no less than this."""
ROUGH_SHARE = 2.0 / 3.0
ROUGH_LASTING, ROUGH_UNUSUAL, ROUGH_CORRELATION = 0.2, 3.0, 0.7
"""In rough motion the ratio of a cut is lower. From ROUGH_SHARE of the wanted ratio on a frame is a cut too, if it meets these stricter
bounds of the other tests."""
MOVED = 0.93
"""A frame that a part of the one before matches so well is no cut: the camera was jerked. It was 0.98 there, and at most 0.82
at 490 cuts."""
ALIKE, KEPT, ALIKE_STANDOUT = 0.75, 0.4, 3.0
"""Where a part of the frame before matches as well as ALIKE, or all of it correlates so, or the share KEPT of the parts with any detail
lines up with it, a cut's change is ALIKE_STANDOUT times the largest other one within NEAR_S, at least. Between shots that are alike it was
4.5 times and more, where cameras were jerked mostly 1 to 2.5 times: a jerk takes more frames than one, and so does what flits past near
the camera and leaves the rest of the picture where it was. A jerk that goes far, or of which fast mode skips a frame, matches less well
than MOVED. The share that lines up was 0.11 at most at 286 cuts, 0.25 with black or white bars that stay, and above KEPT at jump cuts of
one camera."""
REPEATED, FROZEN_S = 0.003, 1.0
"""A frame that changes by less than REPEATED repeats the one before. A recording freezes while its camera moves on: after at most FROZEN_S
seconds of such frames a change that leaves the pictures alike is spread over them before it is compared."""
MAX_MATCH, MIN_MATCH = 0.6, 0.8
"""Between two fast pans what motion changes within 0.2 s is as large as a cut. There a frame is a cut, by the other stricter bounds, if no
part of the frame before matches it better than MAX_MATCH, while the frames around it match the ones before them by MIN_MATCH in the median.
"""

F64 = npt.NDArray[np.float64]


def combined_cuts(
    change: npt.NDArray[np.float32],
    lasting: npt.NDArray[np.float32],
    correlation: npt.NDArray[np.float32],
    match: npt.NDArray[np.float32],
    detail: npt.NDArray[np.float32],
    aligned: npt.NDArray[np.float32],
    t: F64,
    *,
    ratio: float | None = None,
    min_s: float,
) -> npt.NDArray[np.intp]:
    """Indices of the first frame of each new shot.

    Args:
        change: (n,) the signal `jump_d`.
        lasting: (n,) the signal `jump_e`.
        correlation: (n,) the signal `jump_c`; null counts as 1 (nothing changed).
        match: (n,) the signal `jump_m`; null where no change stands out.
        detail: (n,) the signal `jump_l`; null where no change stands out.
        aligned: (n,) the signal `kept_blocks`; null counts as 0.
        t: (n,) seconds, increasing.
        ratio: least ratio of a cut's change to the mean of its neighbours'; None: 3.
        min_s: of cuts closer than this, seconds, the one with the largest change is kept.
    """
    wanted = RATIO if ratio is None else ratio
    score = np.nan_to_num(change.astype(np.float64))
    stands = _ratios(score)
    maybe = np.flatnonzero((score >= MIN_CHANGE) & (stands >= wanted * ROUGH_SHARE))
    stands, leads = stands[maybe], np.array([_standout(score, t, int(i)) for i in maybe])
    c, kept, differs = score[maybe], lasting[maybe], np.nan_to_num(correlation[maybe], nan=1.0)
    unusual = kept / np.array([_usual(lasting, t, int(i)) for i in maybe])
    clear = (stands >= wanted) & ((leads >= MIN_STANDOUT) | ((c >= STRONG_CHANGE) & (leads >= STRONG_STANDOUT)))
    clear &= (kept >= MIN_LASTING) & (unusual >= MIN_UNUSUAL) & (differs < MAX_CORRELATION)
    rough = (leads >= MIN_STANDOUT) & (kept >= ROUGH_LASTING) & (differs < ROUGH_CORRELATION)
    panned = (match[maybe] <= MAX_MATCH) & (np.array([_matches(match, t, int(i)) for i in maybe]) >= MIN_MATCH)
    rough &= (unusual >= ROUGH_UNUSUAL) | panned
    stays = np.nan_to_num(aligned[maybe]) >= KEPT
    lit = (detail[maybe] >= SAME_DETAIL) & ~stays
    alike = (match[maybe] >= ALIKE) | (differs >= ALIKE) | stays
    jerked = (match[maybe] >= MOVED) | (alike & (leads < ALIKE_STANDOUT))
    frozen = _frozen(score, t)
    jerked |= alike & (np.array([_rate_standout(score, frozen, t, int(i)) for i in maybe]) < MIN_STANDOUT)
    return strongest(maybe[(clear | rough) & ~jerked & ~lit], score, t, min_s)


def _ratios(score: F64) -> F64:
    """Change of each frame over the mean of its neighbours': two on each side, fewer at the video's ends; the first frame has none."""
    if len(score) < 3:
        return np.zeros(len(score))
    padded = np.concatenate(([np.nan, np.nan], score, [np.nan, np.nan]))
    padded[WINDOW] = np.nan
    n = len(score)
    near = np.nanmean([padded[i : i + n] for i in range(2 * WINDOW + 1) if i != WINDOW], axis=0)
    return np.asarray(np.where(np.arange(n) > 0, score / np.maximum(near, 1e-5), 0.0))


def _standout(score: F64, t: F64, i: int) -> float:
    """Change of frame i over the largest other change within NEAR_S, counted over as long a time (see LONGER)."""
    lo, hi = np.searchsorted(t, (t[i] - NEAR_S, t[i] + NEAR_S))
    others = np.delete(np.arange(max(lo, 1), hi), i - max(lo, 1))
    longer = np.clip((t[i] - t[i - 1]) / (t[others] - t[others - 1]), 1.0, LONGER)
    return float(score[i] / max((score[others] * longer).max(initial=0.0), 1e-5))


def _frozen(score: F64, t: F64) -> npt.NDArray[np.intp]:
    """How many frames right before each one repeat the one before them; 0 where they last longer than FROZEN_S."""
    at = np.arange(len(score))
    first = np.maximum.accumulate(np.where(score >= REPEATED, at, 0))
    before = np.concatenate(([0], first[:-1]))
    return np.where(t - t[before] <= FROZEN_S, np.maximum(at - before - 1, 0), 0)


def _rate_standout(score: F64, frozen: npt.NDArray[np.intp], t: F64, i: int) -> float:
    """As `_standout`, with each change spread over the frozen frames before it; those before frame i do not count as near."""
    first = i - frozen[i]
    lo, hi = np.searchsorted(t, (t[first] - NEAR_S, t[i] + NEAR_S))
    rate = score / (frozen + 1)
    others = np.concatenate((rate[lo:first], rate[i + 1 : hi]))
    return float(rate[i] / max(others.max(initial=0.0), 1e-5))


def _usual(lasting: npt.NDArray[np.float32], t: F64, i: int) -> float:
    """Median lasting change of the other frames within USUAL_S, at least LEAST_USUAL."""
    lo, hi = np.searchsorted(t, (t[i] - USUAL_S, t[i] + USUAL_S))
    others = np.concatenate((lasting[lo:i], lasting[i + 1 : hi]))
    return max(float(np.median(others)), LEAST_USUAL) if len(others) else LEAST_USUAL


def _matches(match: npt.NDArray[np.float32], t: F64, i: int) -> float:
    """How well the other frames within NEAR_S match the ones before them, in the median; 0 where that is not known."""
    lo, hi = np.searchsorted(t, (t[i] - NEAR_S, t[i] + NEAR_S))
    others = np.concatenate((match[lo:i], match[i + 1 : hi]))
    known = others[~np.isnan(others)]
    return float(np.median(known)) if len(known) else 0.0


def strongest(cuts: npt.NDArray[np.intp], score: F64, t: F64, min_s: float) -> npt.NDArray[np.intp]:
    """Of cuts closer than `min_s` seconds the one with the largest score, which is one value a frame, as are the times `t`."""
    kept: list[float] = []
    chosen: list[int] = []
    for i in sorted((int(i) for i in cuts), key=lambda i: -score[i]):
        at = bisect_left(kept, t[i])
        if all(abs(t[i] - other) >= min_s for other in kept[max(0, at - 1) : at + 1]):
            kept.insert(at, float(t[i]))
            chosen.append(i)
    return np.array(sorted(chosen), np.intp)
