"""Finds the clips of a video from its signals. Other modules call `find_shots`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from rushes.errors import StoreError
from rushes.media.holes import Hole
from rushes.recipe import TRANSNET, ShotSettings
from rushes.shots.adaptive import adaptive_cuts
from rushes.shots.combined import combined_cuts
from rushes.shots.content import content_cuts
from rushes.shots.fade import fades
from rushes.shots.gradual import Transition, dissolves, merge
from rushes.shots.idle import IDLE_SIGNALS, trimmed
from rushes.shots.scenedetect_cuts import scenedetect_cuts
from rushes.shots.spans import Edge, Shot, absorb, guarded, pieces, shot, split, ticks
from rushes.shots.stride import stride_joints
from rushes.shots.transnet import transnet_cuts

VERSION = 8
"""Raise when the clips of the same signals and settings change."""

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

BLEND_SIGNALS = tuple(f"blend_{name}" for name in ("e", "r", "q", "a", "c", "s", "m", "l", "f", "k", "start", "end"))
GRADUAL_SIGNALS = (*BLEND_SIGNALS, "fade_y", "fade_std", "fade_l", "jump_c")


COMBINED_SIGNALS = ("jump_d", "jump_e", "jump_c", "jump_m", "jump_l", "kept_blocks")
LEAST_S = 0.3
"""Of cuts inside a clip that are closer than this, seconds, one counts: the default of `shots.min_s`."""


def needed_signals(settings: ShotSettings) -> tuple[str, ...]:
    """Names of the signals that `find_shots` needs under these settings."""
    own = {"content": ("content",), "adaptive": ("content",), "combined": COMBINED_SIGNALS, "stride": (), TRANSNET: (TRANSNET,)}
    names = own.get(settings.detector, (f"psd_{settings.detector}",))
    return (*names, *(GRADUAL_SIGNALS if _gradual(settings) else ()), *(IDLE_SIGNALS if settings.trim_idle else ()))


def find_shots(
    signals: Mapping[str, F32], pts: I64, time_base: Fraction, end_pts: int, settings: ShotSettings, holes: Sequence[Hole] = ()
) -> list[Shot]:
    """The clips of a video, in order: half-open, not overlapping, each of at least one frame.

    A shot that the guard would empty keeps its middle frame. A fade that the video itself starts or ends with is left in its clip.

    Args:
        signals: name -> (n,) float32, NaN where not measured; `needed_signals` says which.
        pts: (n,) strictly increasing.
        time_base: seconds of a tick.
        end_pts: end of the video: last pts + its duration.
        settings: the recipe's table `shots`.
        holes: stretches during which the camera was off, in order. They belong to no clip; what is beside one is found as beside an end of
            the video.

    Raises:
        StoreError: a signal that the settings need was never measured.
    """
    missing = [name for name in needed_signals(settings) if name not in signals]
    if missing:
        raise StoreError(
            f"detector {settings.detector!r} needs the signals {', '.join(missing)}, which this scan does not have",
            step="shots",
            mend="run again so that the video is scanned with them; detectors that the pass has to run are named in scan.detectors",
        )
    if not len(pts):
        return []
    found: list[Shot] = []
    for first, stop, end, start_edge, end_edge in _stretches(len(pts), end_pts, holes):
        part = {name: row[first:stop] for name, row in signals.items()}
        shots = _find(of_their_own(part) if first else part, pts[first:stop], time_base, end, settings)
        if shots[0].start != "idle":
            shots[0] = replace(shots[0], start=start_edge)
        if shots[-1].end != "idle":
            shots[-1] = replace(shots[-1], end=end_edge)
        found += shots
    return found


def of_their_own(signals: Mapping[str, F32]) -> dict[str, F32]:
    """The signals (n,) of frames that are cut as a video of their own: less the first one's changes, which are since one before them."""
    return {name: _from_second(row) if name in ("content", "jump_d") or name.startswith("psd_") else row for name, row in signals.items()}


def _from_second(changes: F32) -> F32:
    """Changes since the frame before, less that of the first frame, which is a change since another stretch."""
    out = changes.copy()
    out[0] = np.nan
    return out


def _stretches(n: int, end_pts: int, holes: Sequence[Hole]) -> Iterator[tuple[int, int, int, Edge, Edge]]:
    """The stretches of frames between holes: first frame, frame after the last, end in ticks, and what the two edges are."""
    starts, ends = [0, *(hole.at for hole in holes)], [*((hole.at, hole.start_pts) for hole in holes), (n, end_pts)]
    for k, (first, (stop, end)) in enumerate(zip(starts, ends, strict=True)):
        yield first, stop, end, "hole" if k else "video", "hole" if k < len(holes) else "video"


def _find(signals: Mapping[str, F32], pts: I64, time_base: Fraction, end_pts: int, settings: ShotSettings) -> list[Shot]:
    """The clips of a stretch without holes, at least one."""
    least = ticks(settings.min_s, time_base)
    joints = stride_joints(pts, end_pts, ticks(settings.stride_s, time_base), least) if settings.detector == "stride" else []
    found = transitions_of(signals, pts, time_base) if _gradual(settings) else []
    cuts, found = absorb(cuts_of(signals, pts, time_base, settings), found, pts, least)
    guard, longest = ticks(settings.guard_s, time_base), ticks(settings.max_s, time_base)
    whole = [guarded(piece, pts, end_pts, guard) for piece in pieces(cuts, found, joints, len(pts))]
    if settings.trim_idle:
        whole = [trimmed(piece, signals, pts, time_base, ticks(settings.trim_idle, time_base)) for piece in whole]
    return [shot(part, pts, end_pts) for piece in whole for part in split(piece, pts, end_pts, longest)]


def cuts_of(signals: Mapping[str, F32], pts: I64, time_base: Fraction, settings: ShotSettings) -> npt.NDArray[np.intp]:
    """Indices of the first frame of each shot after a hard cut, by the settings' detector."""
    detector: str = settings.detector
    if detector == "stride":
        return np.empty(0, np.intp)
    if detector == "content":
        return content_cuts(signals["content"], pts, time_base, threshold=settings.threshold, min_s=settings.min_s)
    if detector == "adaptive":
        return adaptive_cuts(signals["content"], pts, time_base, ratio=settings.threshold, min_s=settings.min_s)
    if detector == "combined":
        change, lasting, correlation, match, detail, aligned = (signals[name] for name in COMBINED_SIGNALS)
        t = _seconds(pts, time_base)
        return combined_cuts(change, lasting, correlation, match, detail, aligned, t, ratio=settings.threshold, min_s=settings.min_s)
    if detector == TRANSNET:
        return transnet_cuts(signals[TRANSNET], _seconds(pts, time_base), threshold=settings.threshold, min_s=settings.min_s)
    return scenedetect_cuts(detector, signals[f"psd_{detector}"], pts, time_base, min_s=settings.min_s)


def cuts_inside(signals: Mapping[str, F32], at: slice, t: npt.NDArray[np.float64]) -> int | None:
    """How many hard cuts lie between some frames of a video that follow each other, by the test of the detector `combined`.

    Args:
        signals: name -> (n,) float32 of the whole video.
        at: the frames.
        t: (n,) seconds.

    Returns:
        None where a signal that the test needs was never measured.
    """
    if any(name not in signals for name in COMBINED_SIGNALS):
        return None
    change, lasting, correlation, match, detail, aligned = (signals[name][at] for name in COMBINED_SIGNALS)
    return len(combined_cuts(_from_second(change), lasting, correlation, match, detail, aligned, t[at], min_s=LEAST_S))


def transitions_of(signals: Mapping[str, F32], pts: I64, time_base: Fraction) -> list[Transition]:
    """Gradual transitions in order, none overlapping another; a fade wins over a dissolve seen in the same place."""
    t = _seconds(pts, time_base)
    faded = fades(signals["fade_y"], signals["fade_std"], signals["fade_l"], signals["jump_c"], t)
    mixed = [x for x in dissolves(signals, t) if not any(x.start < y.end and x.end > y.start for y in faded)]
    return merge(faded + mixed)


def _gradual(settings: ShotSettings) -> bool:
    return settings.gradual and settings.detector != "stride"


def _seconds(pts: I64, time_base: Fraction) -> npt.NDArray[np.float64]:
    return np.asarray((pts - pts[0]) * time_base.numerator / time_base.denominator, np.float64)
