"""What tells cuts and dissolves from motion and light, measured on thumbnails of luma.

The blend test finds dissolves: it asks whether a frame is the average of an earlier and a later one. The middle frame of a dissolve is the
weighted average of the frames at its two ends. Motion does not have that property. For each frame t and each half-width k, let A, M and B
be the thumbnails at t - k, t and t + k:

    contrast           = root mean square of the deviations of A and B, at least 4 levels
    end difference   e = mean |B - A| / contrast
    middle residual  r = mean |M - blend(A, B)| / mean |B - A|    0 for a linear dissolve, 0.5 for a hard cut, near 1 for a pan;
                         or the same of thumbnails less their means, where that is larger: a camera's exposure changes means alone
    quarter residual q = the larger of the same half-way to A and half-way to B
    area             a = share of cells, but for those black in both, that changed by more than 0.18 of the contrast
    structure        c = correlation of A and B               a light that is dimmed keeps its structure, a new shot does not
    moved            m = largest correlation of the middle of one end with a part of the other: one scene that a camera pans over
    detail           l = correlation of the detail before and after the transition, and LOOK_S away, the lower one: light that falls
                         unevenly changes the structure, but not the detail (`scan/detail.py`)

Hard cuts are judged by the change since the frame before (`jump_d`), by how much of it lasts (`jump_e`), both shares of the contrast, and
by the correlation with the frame before (`jump_c`), and where the change stands out by how well a part of the frame before matches
(`jump_m`) and whether the detail is where it was (`jump_l`). All are the same for a picture in colour or grey, in half the light or half
the contrast, but for rounding to 8 bits, and for pictures that are nearly black or have hardly any contrast.

The blend weighs A and B by the times of the three frames, so that variable frame rate and skipped frames do not matter. To save work, about
15 frames a second are tested. All half-widths are tried on a third of the cells; the best one is then computed on all of them.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.batch import Batch
from rushes.media.views import THUMB, THUMB_SIZE, U8
from rushes.records import Column
from rushes.scan.detail import kept_in_the_dark, likeness, same_detail
from rushes.scan.light import Light
from rushes.scan.ramp import F32, F64, fit_ramp, progress, thinned

HALF_WIDTHS_S = (0.2, 0.3, 0.4, 0.55, 0.75, 1.0)
"""Half-widths tried, seconds: dissolves of 0.3 to 2 s. Own measurement, see docs/shots.md."""
RATE = 15.0
"""Frames a second that are tested; a 0.3 s dissolve still gets four."""
COARSE = 3
"""All half-widths are tried on every third cell of the thumbnails only."""
MIN_END_DIFFERENCE = 0.15
"""r is computed where e is above this: somewhat below the bound in `shots/gradual.py`."""
MAX_MIDDLE = 0.55
"""q is computed where r is below this: a little above the loosest bound in `shots/gradual.py`."""
CANDIDATE_E, CANDIDATE_A, CANDIDATE_R, CANDIDATE_Q = 0.15, 0.4, 0.5, 0.45
"""Start and end of a transition are fitted where e and a are above these, r and q below, and c + r below 1. All bounds are looser than
those in `shots/gradual.py`, so that these can be changed without a new scan."""
AREA = 0.18
"""A cell has changed when it differs by more than this share of the contrast. One that in both pictures differs by less than that from the
darkest cell of either is black: the bars above and below a wide picture are no part of it, whatever level they have."""
MARGINS = 3, 4
"""The middle of a picture is moved over the other one by so many cells at most, down and across: a tenth to a sixth of the picture."""
REACH = 1.5
MARGIN_S = 0.25
"""Start and end of a transition are searched within REACH times the half-width plus MARGIN_S, seconds, on both sides of the frame."""
LOOK_S = REACH * HALF_WIDTHS_S[-1] + MARGIN_S
"""How far before and after a frame the test reads other frames, seconds."""
LASTING_S = 0.2
"""A change that is undone within this time is a flash, not a cut, seconds."""
RETURN_S = 0.3
"""What was seen before a cut is not seen again within this time after it, and the other way round, seconds: between two flashes it is. Nor
is what was seen LASTING_S before it seen that long after it, as where something flits past."""
LAST_FRAME_S = 2.5 * LASTING_S
"""How far before a frame's predecessor the lasting change reads frames, seconds: those within RETURN_S, and the one nearest to LASTING_S
before the predecessor, which lies within twice that."""
MIN_STEP = 0.06
"""The correlation with the frame before is computed where the change since then is above this share of the contrast."""
STEP, STANDS_OUT, NEAR_S = 0.15, 1.5, 0.35
"""Whether the picture returns, or has only moved, is looked at where the change is above STEP of the contrast, which is below the bounds of
cuts, and STANDS_OUT times the mean of the others within NEAR_S on both sides, seconds ..."""
BESIDE = 2
"""... and at so many frames before and after such a one: how frames match that move on as before."""
RETURNED = 0.2
"""The picture has returned where one differs from it by less than this share of the contrast."""

Index = npt.NDArray[np.intp]
_SOURCE = "own; measured on footage joined with known transitions"


class Blend:
    """The meter of the blend test. It holds the thumbnails of about 3.5 s of frames, whatever the video's length."""

    columns: tuple[Column, ...] = (
        Column("blend_e", "float", "of the contrast", "difference of the two ends at the best half-width", 0.0, 64.0, _SOURCE),
        Column("blend_r", "float", "", "middle residual at the best half-width; null where blend_e is low", 0.0, None, _SOURCE),
        Column("blend_q", "float", "", "quarter residual; null where blend_r is high", 0.0, None, _SOURCE),
        Column("blend_a", "float", "", "share of cells that changed, but for black ones; null where blend_r is high", 0.0, 1.0, _SOURCE),
        Column("blend_c", "float", "", "correlation of the two ends' luma; null where blend_r is high", -1.0, 1.0, _SOURCE),
        Column("blend_s", "float", "8-bit levels", "lower luma deviation of the two ends; null where blend_r is high", 0.0, 128.0, _SOURCE),
        Column("blend_m", "float", "", "largest correlation of the ends' parts; null where no transition is fitted", -1.0, 1.0, _SOURCE),
        Column("blend_l", "float", "", "correlation of the ends' detail; null where no transition is fitted", -1.0, 1.0, _SOURCE),
        Column("blend_f", "float", "", "share of the frames' way from one end to the other that a ramp explains", 0.0, 1.0, _SOURCE),
        Column("blend_k", "float", "s", "best half-width; null where none fits in the video", 0.0, 1.0, _SOURCE),
        Column("blend_start", "float", "s", "from the frame back to the fitted start of the transition (negative)", None, 0.0, _SOURCE),
        Column("blend_end", "float", "s", "from the frame on to the fitted end of the transition", 0.0, None, _SOURCE),
        Column("jump_d", "float", "of the contrast", "change since the frame before; null at the first frame", 0.0, 64.0, _SOURCE),
        Column("jump_e", "float", "of the contrast", "change that lasts over 0.2 s; a flash has little", 0.0, 64.0, _SOURCE),
        Column("jump_m", "float", "", "how well a part of the frame before matches; null where no change stands out", -1.0, 1.0, _SOURCE),
        Column("jump_l", "float", "", "correlation of the detail with the frame before's; null as jump_m", -1.0, 1.0, _SOURCE),
        Column("jump_c", "float", "", "luma correlation with the frame before; null where little changed", -1.0, 1.0, _SOURCE),
        Column("fade_y", "float", "8-bit levels", "mean luma of the thumbnail inside black bars, 16 black, 235 white", 0.0, 255.0, ""),
        Column("fade_std", "float", "8-bit levels", "standard deviation of the same luma", 0.0, 128.0, ""),
        Column("fade_l", "float", "", "of a flat picture the lower correlation of detail to both sides; else null", -1.0, 1.0, _SOURCE),
    )

    def __init__(self) -> None:
        self._t: F64 = np.empty(0)
        self._thumb: U8 = np.empty((0, THUMB_SIZE), np.uint8)
        self._coarse: U8 = np.empty((0, THUMB_SIZE // COARSE), np.uint8)
        self._light = Light.of(self._thumb)
        self._next = 0
        self._step = -1
        self._done: list[dict[str, F32]] = []

    def push(self, batch: Batch) -> None:
        """Take the next frames, and compute the signals of those frames for which all frames that they need have come."""
        self._t = np.concatenate((self._t, batch.t))
        self._thumb = np.concatenate((self._thumb, batch.thumb))
        self._coarse = np.concatenate((self._coarse, batch.thumb[:, ::COARSE]))
        self._light = self._light.then(Light.of(batch.thumb))
        self._advance(unsettled_from(self._t))

    def finish(self) -> dict[str, npt.NDArray[np.float32]]:
        """All signals named in `columns`, float32, one value a frame."""
        self._advance(len(self._t))
        return {c.name: np.concatenate([d[c.name] for d in self._done]) if self._done else np.empty(0, np.float32) for c in self.columns}

    def _advance(self, stop: int) -> None:
        """Compute the signals of the frames up to `stop`, and drop the thumbnails that no later frame needs."""
        if stop <= self._next:
            return
        window = slice(self._next, stop)
        out = {c.name: np.full(stop - self._next, np.nan, np.float32) for c in self.columns}
        out["fade_y"], out["fade_std"] = self._light.mean[window], self._light.std[window]
        jumps = _jumps(self._t, self._thumb, self._light, np.arange(self._next, stop))
        out["fade_l"] = kept_in_the_dark(self._t, self._thumb, self._light.std, np.arange(self._next, stop))
        out |= {f"jump_{name}": row for name, row in zip("demlc", jumps, strict=True)}
        steps = np.floor(self._t[window] * RATE + 1e-6).astype(np.int64)
        picked = np.flatnonzero(np.diff(steps, prepend=self._step))
        self._step = int(steps[-1])
        if len(picked):
            for name, values in _Test(self._t, self._thumb, self._coarse, self._light, picked + self._next).signals().items():
                out[name][picked] = values
        self._done.append(out)
        self._next = stop
        if stop < len(self._t):
            drop = needed_from(self._t, stop)
            self._t, self._next = self._t[drop:], stop - drop
            self._thumb, self._coarse = self._thumb[drop:], self._coarse[drop:]
            self._light = self._light.after(drop)


def needed_from(t: F64, row: int) -> int:
    """Index of the first frame that the signals of frame `row` and of later frames are computed from. `t`: times of the frames, seconds.
    The changes of frames that are looked at are computed from the frame before the first of these, too, however long ago it was.
    """
    look = t[row] - LOOK_S
    if row:
        look = min(look, t[row - 1] - LAST_FRAME_S)
    return max(0, int(np.searchsorted(t, look)) - 1)


def settled_from(t: F64) -> int:
    """Index of the first frame such that neither its signals nor those of later frames are computed from a frame before the first of `t`;
    the number of frames where there is none.
    """
    look = t - LOOK_S
    look[1:] = np.minimum(look[1:], t[:-1] - LAST_FRAME_S)
    settled = look > t[:1]
    return int(settled.argmax()) if settled.any() else len(t)


def unsettled_from(t: F64) -> int:
    """Index of the first frame whose signals may be computed from a frame after the last of `t`."""
    return int(np.searchsorted(t, t[-1] - LOOK_S))


def read_for(t: F64, first: int, stop: int) -> tuple[int, int]:
    """The frames from which the signals of the frames [first, stop) are computed, or a few more: a scan of these alone gives what a scan of
    the video gives. `t`: times of all frames of the video, seconds.
    """
    look = min(t[first] - LOOK_S, t[max(0, first - 1)] - LAST_FRAME_S)
    return max(0, int(np.searchsorted(t, look)) - 1), min(len(t), int(np.searchsorted(t, t[stop - 1] + LOOK_S, "right")) + 1)


class _Test:
    """The blend test of the frames `rows` of a window of frames."""

    def __init__(self, t: F64, thumb: U8, coarse: U8, light: Light, rows: Index) -> None:
        self.t, self.thumb, self.coarse, self.light, self.rows = t, thumb, coarse, light, rows
        self.ends = np.zeros((2, len(rows)), np.intp)
        self.out = {c.name: np.full(len(rows), np.nan, np.float32) for c in Blend.columns if c.name.startswith("blend_")}

    def signals(self) -> dict[str, F32]:
        """The blend signals, one value for each of `rows`, at the half-width whose score e (1 - r) (1 - q) is best."""
        t, out, n = self.t, self.out, len(self.rows)
        k = np.repeat(HALF_WIDTHS_S, n)  # all half-widths in one go: (half-widths x rows,)
        centre = np.tile(t[self.rows], len(HALF_WIDTHS_S))
        a, b = _nearest(t, centre - k), _nearest(t, centre + k)
        fits = (np.abs(centre - k - t[a]) <= 0.5 * k) & (np.abs(centre + k - t[b]) <= 0.5 * k)
        apart = _mean_abs(self.coarse[a], self.coarse[b])
        e = apart / self.light.spread(a, b)
        r, q = (np.full(len(k), np.nan, np.float32) for _ in range(2))
        on = np.flatnonzero(fits & (e > MIN_END_DIFFERENCE))
        if len(on):
            r[on] = self._residual(self.coarse, np.tile(self.rows, len(HALF_WIDTHS_S))[on], a[on], b[on]) / apart[on]
            on = on[r[on] < MAX_MIDDLE]
            q[on] = self._quarters(self.coarse, centre[on], a[on], b[on]) / apart[on]
        score = e * (1.0 - np.fmin(r, 1.0)) * (1.0 - np.fmin(q, 0.9))
        score = np.where(fits, np.where(np.isnan(score), 0.0, score), -1.0).reshape(-1, n)
        on = np.flatnonzero(score.max(0) >= 0.0)
        best = score.argmax(0)[on] * n + on
        out["blend_e"][on], out["blend_r"][on], out["blend_q"][on], out["blend_k"][on] = e[best], r[best], q[best], k[best]
        self.ends[0, on], self.ends[1, on] = a[best], b[best]
        self._refine()
        self._compare_ends()
        self._fit_extents()
        return out

    def _refine(self) -> None:
        """Compute e, r and q again on all cells, for the frames that have a q."""
        out, t = self.out, self.t
        on = np.flatnonzero(np.isfinite(out["blend_q"]))
        if len(on):
            rows, a, b = self.rows[on], self.ends[0, on], self.ends[1, on]
            apart = np.maximum(_mean_abs(self.thumb[a], self.thumb[b]), 1e-3)
            out["blend_e"][on] = apart / self.light.spread(a, b)
            middle, first, last = (self.thumb[k].astype(np.float32) for k in (rows, a, b))
            weight = self._weight(rows, a, b)
            plain = _off_line(middle, first, last, weight) / apart
            shown = self.light.shown(self.thumb, a, b)
            middle, first, last = (_less_mean(pictures, shown) for pictures in (middle, first, last))
            structure = _off_line(middle, first, last, weight) / np.maximum(_mean_abs(first, last), 1e-3)
            out["blend_r"][on] = np.maximum(plain, structure)
            out["blend_q"][on] = self._quarters(self.thumb, t[rows], a, b) / apart

    def _quarters(self, cells: U8, centre: F64, a: Index, b: Index) -> F32:
        """The larger residual of the frames half-way from `centre` to the ends."""
        before, after = (self._residual(cells, _nearest(self.t, (centre + self.t[end]) / 2), a, b) for end in (a, b))
        return np.maximum(before, after)

    def _residual(self, cells: U8, m: Index, a: Index, b: Index) -> F32:
        """Mean absolute difference between the frames `m` and the blends of the frames `a` and `b`, 8-bit levels."""
        middle, first, last = (cells[k].astype(np.float32) for k in (m, a, b))
        return _off_line(middle, first, last, self._weight(m, a, b))

    def _weight(self, m: Index, a: Index, b: Index) -> F32:
        """The weight of the frames `b` in the blends, by the times of all three."""
        return np.asarray((self.t[m] - self.t[a]) / (self.t[b] - self.t[a]), np.float32)

    def _compare_ends(self) -> None:
        """Compute area, structure and the lower deviation of the two ends, for the frames that have a q."""
        on = np.flatnonzero(np.isfinite(self.out["blend_q"]))
        if not len(on):
            return
        ends = self.ends[:, on]
        a, b = self.thumb[ends[0]], self.thumb[ends[1]]
        least = AREA * self.light.contrast(*ends)[:, None]
        changed = cv2.absdiff(a, b) > least
        darkest = np.minimum(a.min(1), b.min(1))[:, None]
        shown = np.maximum(a, b) - darkest > least
        self.out["blend_a"][on] = (changed & shown).sum(1) / np.maximum(shown.sum(1), THUMB_SIZE // 4)
        self.out["blend_c"][on] = likeness(a, b, self.light.shown(self.thumb, *ends))
        self.out["blend_s"][on] = self.light.std[ends].min(0)

    def _fit_extents(self) -> None:
        """Start and end of the transition around each candidate frame."""
        out, t = self.out, self.t
        maybe = (out["blend_e"] > CANDIDATE_E) & (out["blend_r"] < CANDIDATE_R) & (out["blend_q"] < CANDIDATE_Q)
        for i in np.flatnonzero(maybe & (out["blend_c"] + out["blend_r"] < 1.0) & (out["blend_a"] > CANDIDATE_A)):
            centre = float(t[self.rows[i]])
            reach = REACH * float(out["blend_k"][i]) + MARGIN_S
            lo, hi = np.searchsorted(t, (centre - reach, centre + reach))
            first, last = (self.thumb[self.ends[j, i]].astype(np.float32) for j in (0, 1))
            near = lo + thinned(int(hi - lo))
            start, end, out["blend_f"][i] = fit_ramp(t[near], progress(self.thumb[near].astype(np.float32), first, last), centre)
            out["blend_start"][i], out["blend_end"][i] = start - centre, end - centre
            out["blend_m"][i] = _moved(first, last)
            around = np.searchsorted(t, centre - LOOK_S), np.searchsorted(t, centre + LOOK_S, "right") - 1
            at = _nearest(t, np.array((start, end)))
            out["blend_l"][i] = np.fmin(same_detail(*self.thumb[at]), same_detail(*self.thumb[np.array(around)]))


def _moved(first: F32, last: F32) -> float:
    """The largest correlation of the middle of one picture with a part of the other, shifted by up to MARGINS; 0 where one is plain."""
    (down, across), pictures = MARGINS, [end.reshape(THUMB[1], THUMB[0]) for end in (first, last)]
    found = [0.0]
    for one, other in (pictures, pictures[::-1]):
        middle = np.ascontiguousarray(one[down:-down, across:-across])
        if middle.std() >= 1.0:
            found.append(float(cv2.matchTemplate(other, middle, cv2.TM_CCOEFF_NORMED).max()))
    return max(found)


def _jumps(t: F64, thumb: U8, light: Light, rows: Index) -> tuple[F32, F32, F32, F32, F32]:
    """The change since the frame before, the change that lasts, and the correlations with the frame before: the largest one of parts, that
    of the detail, and that of all of it; (NaN, 0, NaN, NaN, NaN) at the window's first frame.
    """
    back = np.maximum(rows - 1, 0)
    spread, step = light.spread(back, rows), _mean_abs(thumb[back], thumb[rows])
    long_before, long_after = thumb[_nearest(t, t[back] - LASTING_S)], thumb[_nearest(t, t[rows] + LASTING_S)]
    lasting = np.minimum(_mean_abs(thumb[back], long_after), _mean_abs(long_before, thumb[rows]))
    moved, detail, corr = (np.full(len(rows), np.nan, np.float32) for _ in range(3))
    for i in np.flatnonzero(_looked_at(t, thumb, light, rows)):
        row, before = int(rows[i]), int(back[i])
        after = slice(row, int(np.searchsorted(t, t[row] + RETURN_S, "right")))
        ahead = slice(int(np.searchsorted(t, t[before] - RETURN_S)), row)
        views = ((long_before[i], long_after[i : i + 1]), (thumb[before], thumb[after]), (thumb[row], thumb[ahead]))
        nearest = min(_nearest_to(*seen) for seen in views)
        if nearest < min(lasting[i], RETURNED * spread[i]):
            lasting[i] = nearest
        moved[i] = _moved(thumb[before].astype(np.float32), thumb[row].astype(np.float32))
        detail[i] = same_detail(thumb[before], thumb[row])
    on = np.flatnonzero(step > MIN_STEP * spread)
    if len(on):
        corr[on] = likeness(thumb[back[on]], thumb[rows[on]], light.shown(thumb, back[on], rows[on]))
    changed = step / spread
    changed[rows == 0] = np.nan
    return np.asarray(changed), np.asarray(lasting / spread), moved, detail, corr


def _looked_at(t: F64, thumb: U8, light: Light, rows: Index) -> npt.NDArray[np.bool_]:
    """Which of some frames, which follow each other, have a change that stands out, or are beside one that has."""
    reach = 2 * NEAR_S  # a frame beside one that lies NEAR_S away
    first, stop = np.searchsorted(t, (t[rows[0]] - reach, t[rows[-1]] + reach))
    around = np.arange(first, stop)
    back = np.maximum(around - 1, 0)
    change = _mean_abs(thumb[back], thumb[around]) / light.spread(back, around)
    near = t[around]
    total = np.concatenate(([0.0], np.cumsum(change, dtype=np.float64)))
    lo, hi = np.searchsorted(near, near - NEAR_S), np.searchsorted(near, near + NEAR_S)
    others = (total[hi] - total[lo] - change) / np.maximum(hi - lo - 1, 1)
    stands_out = (change > STEP) & (change >= STANDS_OUT * others)
    found = stands_out.copy()
    for k in range(1, BESIDE + 1):
        close = near[k:] - near[:-k] < NEAR_S
        found[k:] |= stands_out[:-k] & close
        found[:-k] |= stands_out[k:] & close
    return np.asarray(found[rows - first] & (rows > 0))


def _nearest(t: F64, wanted: F64) -> Index:
    """Index of the time nearest to each wanted one; `t` increases."""
    return np.searchsorted((t[1:] + t[:-1]) / 2, wanted)


def _mean_abs(a: U8 | F32, b: U8 | F32) -> F32:
    """Mean absolute difference of each row of two (n, cells) arrays of one type."""
    return np.asarray(cv2.reduce(cv2.absdiff(a, b), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32F)[:, 0] / a.shape[1], np.float32)


def _nearest_to(one: U8, others: U8) -> float:
    """The least mean absolute difference of a thumbnail to one of some others."""
    return float(_mean_abs(np.broadcast_to(one, others.shape), others).min())


def _off_line(middle: F32, first: F32, last: F32, weight: F32) -> F32:
    """Mean absolute difference between pictures and the blends of a first and a last one, of which the last has the weight `weight`."""
    blend = last - first
    blend *= weight[:, None]
    blend += first
    blend -= middle
    return np.asarray(np.abs(blend, out=blend).mean(1), np.float32)


def _less_mean(pictures: F32, shown: npt.NDArray[np.bool_]) -> F32:
    """Pictures (n, cells), each less its mean over the cells that are shown, (n, cells); 0 in the others."""
    mean = (pictures * shown).sum(1, keepdims=True) / shown.sum(1, keepdims=True)
    return np.asarray((pictures - mean) * shown, np.float32)
