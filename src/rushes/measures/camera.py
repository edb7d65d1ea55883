"""The camera of a clip: how much it shakes and what it does, from the global motion of every frame.

The moves between frames are summed to the path of the picture's content, in diagonals. The smooth part of the path is the intended camera
move; the rest is shake. Both use the times of the frames, so neither depends on the frame rate, on gaps or on skipped frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from rushes.measures.clip_time import ClipTime, Mask
from rushes.measures.mean import mean_of
from rushes.measures.motion import flow_of_bursts, flow_samples
from rushes.records import Column, Orientation

F64 = npt.NDArray[np.float64]
Label = Literal["static", "pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out", "shaky", "mixed"]

FIT = 0.5
"""Least `motion_fit` of a move between two frames that is used: pictures of different scenes reach 0.3, aligned ones 0.8 and more."""
FLAT = 1.0
"""Largest contrast, grey levels, of pictures without detail, in which no move can be seen, nor that there is none."""
BELIEVED = 0.5
"""Least share of the clip's time with moves that are used; below it all columns are null."""
SMOOTH_S = 0.5
"""Window of the moving mean that smooths the path, seconds: movement slower than 2 Hz counts as intended, faster as shake."""
STATIC = 0.01
"""Root-mean-square speed, diagonals a second, below which the label is `static`: 1 % of the width a second is hardly seen."""
SHAKY = 0.012
"""Shake, diagonals, from which the label is `shaky`: 26 pixels at 1080p, what hand-held sports footage reaches."""
STILL = 0.8
"""Mean share of still picture from which the label is `static` even if there is global motion: a camera that moves makes everything with
detail move, while before a bare road the global motion follows the only thing with detail, a car."""
UPRIGHT = Orientation()
RADIUS = 12**-0.5
"""Root-mean-square distance of a rectangle's points from its centre, diagonals. A zoom rate times this is a mean speed."""

COLUMNS: tuple[Column, ...] = (
    Column("shake", "float", "diagonal", f"RMS of the camera path less its mean over {SMOOTH_S} s", 0.0, None, "global motion"),
    Column("camera_motion", "text", "", ", ".join(get_args(Label)) + "; as a viewer sees it", source="global motion"),
    Column("camera_motion_confidence", "float", "1", "the label's share of the motion, times the time believed", 0.0, 1.0, "global motion"),
)


def measure(signals: Mapping[str, npt.NDArray[np.float32]], clip: ClipTime, way: Orientation = UPRIGHT) -> dict[str, float | str | None]:
    """The columns of a clip; null where less than half of the time has moves that can be used.

    Args:
        signals: `dx`, `dy`, `zoom`, `motion_fit`, `flow_still`, `flow_dt` and `luma_std` of all frames, of the picture before
            it is turned upright.
        clip: the clip's times. Its first frame's move is not used, since it is relative to another shot.
        way: how the decoded picture becomes upright.
    """
    if clip.seen is not None:
        return of_bursts(signals, clip, clip.seen, way)
    steps = slice(clip.at.start + 1, clip.at.stop)
    sure = signals["motion_fit"][steps] >= FIT
    each = np.stack([np.where(sure, signals[name][steps], 0.0) for name in ("dx", "dy", "zoom")], axis=1).astype(np.float64)
    dt, (moves, doubted) = clip.moves(each, (~sure).astype(np.float64))
    believed = doubted == 0 if signals["luma_std"][clip.at].max() >= FLAT else np.zeros(len(dt), np.bool_)
    share = float(dt[believed].sum() / dt.sum()) if len(dt) else 0.0
    if share < BELIEVED:
        return dict.fromkeys((column.name for column in COLUMNS), None)
    moves[:, :2] = moves[:, :2] @ np.array(way.matrix).T
    path = np.concatenate((np.zeros((1, 3)), np.cumsum(moves, axis=0)))
    clock = np.concatenate(([0.0], np.cumsum(dt)))
    smooth = moving_mean(path, clock, SMOOTH_S)
    weight = np.gradient(clock)
    rest = ((path - smooth)[:, :2] ** 2).sum(axis=1)
    shake = float(np.sqrt(np.average(rest, weights=weight)))
    _, _, seen, rest = flow_samples(signals, clip)
    still = float(seen.sum() + rest) / (len(seen) + rest) if len(seen) + rest else 0.0
    label, confidence = camera_label(np.gradient(smooth, clock, axis=0) * (1.0, 1.0, RADIUS), weight, shake, still)
    return {"shake": shake, "camera_motion": label, "camera_motion_confidence": confidence * share}


def of_bursts(
    signals: Mapping[str, npt.NDArray[np.float32]], clip: ClipTime, seen: Mask, way: Orientation
) -> dict[str, float | str | None]:
    """The columns of a clip of which only bursts were decoded, so that its path is not known, but only its speed, and within a burst of
    three pictures and more how the speed changes.

    Of a path that swings with frequency f, speed and change of speed tell f and how far it swings. What a moving mean over `SMOOTH_S`
    leaves of such a path is its swing times 1 - sin(x) / x with x = pi f `SMOOTH_S`. The estimate takes the root-mean-square speed, less
    the mean, and the root-mean-square change of speed for those of one swing. A camera that shakes with many frequencies is estimated
    too low.

    Args:
        signals: as for `measure`.
        clip: as for `measure`.
        seen: (n,) which frames of the clip were decoded.
        way: as for `measure`.
    """
    columns = dict.fromkeys(column.name for column in COLUMNS)
    at = np.flatnonzero(seen)
    t, rows = clip.t[at], {name: signals[name][clip.at][at].astype(np.float64) for name in ("dx", "dy", "zoom", "motion_fit", "luma_std")}
    steps = np.flatnonzero(~np.isnan(rows["motion_fit"][1:])) + 1  # of the pictures that follow another one of the clip
    sure = rows["motion_fit"][steps] >= FIT
    stands = _stand_for(t[steps], clip)
    share = float(stands[sure].sum() / stands.sum()) if len(steps) and rows["luma_std"].max() >= FLAT else 0.0
    if share < BELIEVED:
        return columns
    dt = np.diff(t)
    speed = np.stack([rows[name][1:] / dt for name in ("dx", "dy", "zoom")], axis=1) * (1.0, 1.0, RADIUS)
    speed[:, :2] = speed[:, :2] @ np.array(way.matrix).T
    good = np.zeros(len(dt), np.bool_)
    good[steps[sure] - 1] = True
    pairs = np.flatnonzero(good[1:] & good[:-1])
    moves, weight = speed[good], _stand_for(t[1:][good], clip)
    means = np.average(moves, axis=0, weights=weight)
    swing = float(np.average(((moves - means)[:, :2] ** 2).sum(axis=1), weights=weight)) ** 0.5
    shake, smooth = None, 1.0
    if len(pairs):
        change = (speed[pairs + 1] - speed[pairs])[:, :2] / ((dt[pairs + 1] + dt[pairs]) / 2)[:, None]
        turning = float(np.average((change**2).sum(axis=1), weights=_stand_for(t[pairs + 1], clip))) ** 0.5
        angular = max(turning / max(swing, 1e-9), 1e-9)
        smooth = float(np.sinc(angular / (2 * np.pi) * SMOOTH_S))
        shake = swing / angular * (1 - smooth)
    rest = np.average((moves - means) ** 2, axis=0, weights=weight).sum()
    still = mean_of(flow_of_bursts(signals, clip)[2], clip)
    label, confidence = label_of(means, float((means**2).sum() + smooth**2 * rest), shake or 0.0, still or 0.0)
    return columns | {"shake": shake, "camera_motion": label, "camera_motion_confidence": confidence * share}


def _stand_for(t: F64, clip: ClipTime) -> F64:
    """Seconds of the clip to which each of these times is the nearest."""
    return np.diff(np.concatenate(([clip.t[0]], (t[1:] + t[:-1]) / 2, [clip.end_s]))) if len(t) else t


def moving_mean(path: F64, clock: F64, window_s: float) -> F64:
    """Mean of a path (n, k), linear between its times `clock` (n,), over `window_s` around each; the window narrows evenly at the ends."""
    area = np.concatenate((np.zeros((1, path.shape[1])), np.cumsum((path[1:] + path[:-1]) / 2 * np.diff(clock)[:, None], axis=0)))
    half = np.clip(np.minimum(clock - clock[0], clock[-1] - clock), 1e-6, window_s / 2)
    means = (_integral(clock + half, clock, a, p) - _integral(clock - half, clock, a, p) for a, p in zip(area.T, path.T, strict=True))
    return np.stack([mean / (2 * half) for mean in means], axis=1)


def _integral(at: F64, clock: F64, area: F64, values: F64) -> F64:
    """Integral from the first time to `at` of the line through (clock, values); `area` is the integral at each time of `clock`."""
    i = np.clip(np.searchsorted(clock, at, side="right") - 1, 0, len(clock) - 2)
    past = at - clock[i]
    slope = (values[i + 1] - values[i]) / (clock[i + 1] - clock[i])
    return area[i] + past * values[i] + past**2 * slope / 2


def camera_label(speed: F64, weight: F64, shake: float, still: float) -> tuple[Label, float]:
    """Label and confidence 0..1 of a camera.

    Args:
        speed: (n, 3) speed of the smooth path in diagonals a second: right, down, and zoom times `RADIUS`.
        weight: (n,) seconds each row stands for.
        shake: diagonals.
        still: mean share of the picture that does not move, 0..1.

    """
    means = np.average(speed, axis=0, weights=weight)
    return label_of(means, float(np.average((speed**2).sum(axis=1), weights=weight)), shake, still)


def label_of(means: F64, energy: float, shake: float, still: float) -> tuple[Label, float]:
    """Label and confidence 0..1 of a camera, from the three means (3,) of its speed and its mean square.

    The energy of the speed is the sum of the squares of its three means and a rest, which is movement that changes direction. The direction
    that has at least half of the energy gives the label; otherwise it is `mixed`.
    """
    pace = energy**0.5
    if shake >= SHAKY:
        return "shaky", shake / (shake + SHAKY)
    if pace < STATIC:
        return "static", 1 - pace / STATIC / 2
    if still >= STILL:
        return "static", still / 2
    shares = means**2 / energy
    best = int(shares.argmax())
    if shares[best] < 0.5:
        return "mixed", float(1 - shares[best])
    names: tuple[tuple[Label, Label], ...] = (("pan_left", "pan_right"), ("tilt_up", "tilt_down"), ("zoom_in", "zoom_out"))
    return names[best][0 if means[best] > 0 else 1], float(shares[best])
