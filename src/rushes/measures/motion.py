"""Motion of a clip: how fast the parts of the picture move, and for what share of the time nothing moves or one picture is repeated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rushes.measures.clip_time import ClipTime
from rushes.measures.mean import mean_of
from rushes.media.time_grid import HELD_DT_S
from rushes.records import Column

F64 = npt.NDArray[np.float64]

STILL_SHARE = 0.995
"""Share of the picture that must be still for a sample to count as static: if more than 1/200 of the picture moves, such as one person far
away, it does not."""
SAME = 0.13
"""Largest `block_diff`, grey levels, of a repeated picture: two sixteenths, what x264 and x265 leave between frames of a frozen picture.
A quiet camera's sensor noise is at 0.2 and more at ordinary bit rates."""
REFRESH = 3.0
"""Largest `block_diff`, grey levels, of a single step that does not end a freeze, since a key frame encodes the same picture anew (2.8 for
x264 at crf 38). On both sides of the step the picture must repeat for half of `FREEZE_S`; else slow footage with doubled frames would be a
freeze."""
FREEZE_S = 0.5
"""Shortest freeze, seconds: doubled frames of a rate conversion and animation drawn on twos or threes are shorter."""

COLUMNS: tuple[Column, ...] = (
    Column("motion_mean", "float", "diagonal/s", "mean speed over picture and time, camera included", 0.0, None, "dense flow on the grid"),
    Column("motion_p95", "float", "diagonal/s", "speed that a twentieth of the picture exceeds, mean over time", 0.0, None, "dense flow"),
    Column("static_share", "float", "1", "share of time in which less than 1/200 of the picture moves", 0.0, 1.0, "dense flow"),
    Column("freeze_share", "float", "1", f"share of time in repeats of one picture for {FREEZE_S} s or more", 0.0, 1.0, "block_diff"),
)


def measure(signals: Mapping[str, npt.NDArray[np.float32]], clip: ClipTime) -> dict[str, float | str | None]:
    """The columns of a clip; null where there is nothing to measure (a clip of one short frame, no grid sample, no step between pictures
    that were decoded).

    Args:
        signals: `flow_mean`, `flow_p95`, `flow_still`, `flow_dt` and `block_diff` of all frames of the video.
        clip: the clip's times.
    """
    found: dict[str, float | str | None] = dict.fromkeys((column.name for column in COLUMNS), None)
    if clip.seen is not None:
        if not clip.seen.any():
            return found
        mean, p95, still = flow_of_bursts(signals, clip)
        static = np.where(np.isnan(still), np.nan, still >= STILL_SHARE)
        found["motion_mean"], found["motion_p95"], found["static_share"] = (mean_of(values, clip) for values in (mean, p95, static))
    else:
        mean, p95, still, rest = flow_samples(signals, clip)
        n = len(mean) + rest
        if n:
            found["motion_mean"] = float(mean.sum()) / n
            found["motion_p95"] = float(p95.sum()) / n
            found["static_share"] = float((still >= STILL_SHARE).sum() + rest) / n
    dt, (change,) = clip.moves(signals["block_diff"][clip.at][1:].astype(np.float64))
    if not np.isnan(change).all():
        found["freeze_share"] = freeze_share(change, dt)
    return found


def flow_of_bursts(signals: Mapping[str, npt.NDArray[np.float32]], clip: ClipTime) -> tuple[F64, F64, F64]:
    """`flow_mean`, `flow_p95` and `flow_still` of the frames of a clip of which bursts were decoded, (n,); NaN where there is no sample, or
    where it is compared with a picture before the clip.
    """
    mean, p95, still, dt = (signals[f"flow_{name}"][clip.at].astype(np.float64) for name in ("mean", "p95", "still", "dt"))
    own = clip.t - dt >= clip.t[0] - 1e-6
    return np.where(own, mean, np.nan), np.where(own, p95, np.nan), np.where(own, still, np.nan)


def flow_samples(signals: Mapping[str, npt.NDArray[np.float32]], clip: ClipTime) -> tuple[F64, F64, F64, int]:
    """`flow_mean`, `flow_p95` and `flow_still` of the samples of a clip, (k,), and the number of further samples at which nothing moves,
    because a picture is held. Samples are compared with a picture of the clip. After a held one a speed is that of a change within
    `HELD_DT_S`.
    """
    mean, p95, still, dt = (signals[f"flow_{name}"][clip.at].astype(np.float64) for name in ("mean", "p95", "still", "dt"))
    beats, counted = clip.beats()
    chosen = beats & (clip.t - dt >= clip.t[0] - 1e-6)
    faster = np.where(clip.after_held & (dt > HELD_DT_S), dt / HELD_DT_S, 1.0)
    return (mean * faster)[chosen], (p95 * faster)[chosen], still[chosen], clip.still_cells() - int((counted & chosen).sum())


def freeze_share(block_diff: F64, dt: F64) -> float:
    """Share of time in freezes, from the block difference (n,) and the duration in seconds (n,) of n steps between frames. A difference
    that was not measured (NaN) is no repeat; as a single step it may be the key frame that encodes the same picture anew.
    """
    clock = np.concatenate(([0.0], np.cumsum(dt)))
    same = block_diff <= SAME
    starts, stops = _runs(same)
    long = clock[stops] - clock[starts] >= FREEZE_S / 2
    redrawn = stops[:-1][(starts[1:] - stops[:-1] == 1) & long[:-1] & long[1:]]
    same[redrawn[~(block_diff[redrawn] > REFRESH)]] = True  # not measured: the step to a burst's key frame
    starts, stops = _runs(same)
    lengths = clock[stops] - clock[starts]
    return float(lengths[lengths >= FREEZE_S].sum() / clock[-1])


def _runs(true: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Starts and stops (exclusive) of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], true, [False])).astype(np.int8)))
    return edges[::2], edges[1::2]
