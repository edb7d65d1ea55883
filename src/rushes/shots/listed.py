"""Clips where a list says that they are: spans in seconds, frame numbers or ticks, cut exactly there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from rushes.media.holes import Hole
from rushes.recipe import ShotSettings
from rushes.records import ListedSpan, Span
from rushes.shots.find import F32, I64, find_shots, of_their_own
from rushes.shots.spans import Shot

ROUNDING_S = Fraction(1, 1000)
"""A time in seconds that lies after a frame's by no more than this, or a quarter of the usual step, means that frame: lists round to
milliseconds."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A clip of a span.

    Attributes:
        shot: the clip.
        span: the span of the list that it comes from.
    """

    shot: Shot
    span: ListedSpan


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A span of which there is no clip, and why."""

    span: ListedSpan
    why: str


def listed_shots(
    spans: Sequence[ListedSpan],
    signals: Mapping[str, F32],
    pts: I64,
    time_base: Fraction,
    end_pts: int,
    settings: ShotSettings,
    holes: Sequence[Hole] = (),
) -> tuple[list[Listed], list[Unplaced]]:
    """The clips of the spans of a list, in their order; they may overlap.

    A span is one clip, whatever cuts it holds and however long it is; one with a hole in it is a clip before the hole and one after it.
    With `settings.within_spans` it is cut into shots as if it were a video of its own. One that ends after the video ends with it. A clip
    that two spans give comes from the first.

    Args:
        spans: none equals another.
        signals: name -> (n,) float32; see `find_shots`.
        pts: (n,) strictly increasing, n > 0.
        time_base: seconds of a tick.
        end_pts: end of the video: last pts + its duration.
        settings: the recipe's table `shots`.
        holes: stretches during which the camera was off, in order.

    Returns:
        The clips, and the spans that give none.
    """
    clips: dict[Span, Listed] = {}
    unplaced = []
    for span in spans:
        found = frames_of(span, pts, time_base)
        if found is None:
            length_s = float((end_pts - int(pts[0])) * time_base)
            unplaced.append(Unplaced(span, f"no frame lies in it: the video has {len(pts)} frames and is {length_s:.3f} s long"))
            continue
        shots = _shots(*found, signals, pts, time_base, end_pts, settings, holes)
        if not settings.within_spans and (first := clips.get(shots[0].span)) is not None:
            unplaced.append(Unplaced(span, f"it holds the same frames as {first.span.words()}"))
        for shot in shots:
            clips.setdefault(shot.span, Listed(shot, span))
    return list(clips.values()), unplaced


def frames_of(span: ListedSpan, pts: I64, time_base: Fraction) -> tuple[int, int] | None:
    """The frames [first, stop) of a span, by index; None where there is none.

    Those at start <= t < end: seconds count from the first pts, and one just after a frame's time means that frame (`ROUNDING_S`).

    Args:
        span: the span.
        pts: (n,) strictly increasing, n > 0.
        time_base: seconds of a tick.
    """
    if span.unit == "frame":
        first, stop = int(Fraction(span.start)), min(int(Fraction(span.end)), len(pts))
    else:
        first, stop = (_index(pts, at) for at in asked_ticks(span, int(pts[0]), usual_step(pts), time_base))
    return (first, stop) if first < stop else None


def asked_ticks(span: ListedSpan, first_pts: int, step: int, time_base: Fraction) -> tuple[Fraction, Fraction]:
    """The ticks [start, end) of a span that is given in seconds or ticks: its frames are those with start <= pts < end.

    Args:
        span: the span.
        first_pts: the video's first pts.
        step: `usual_step` of the video.
        time_base: seconds of a tick.
    """
    start, end = Fraction(span.start), Fraction(span.end)
    if span.unit == "s":
        slack = min(ROUNDING_S / time_base, Fraction(step, 4))
        start, end = (first_pts + at / time_base - slack for at in (start, end))
    return start, end


def usual_step(pts: I64) -> int:
    """The median step between frames, ticks; 0 of one frame. `pts`: (n,) strictly increasing."""
    return int(np.median(np.diff(pts))) if len(pts) > 1 else 0


def _index(pts: I64, at: Fraction) -> int:
    """The first frame at or after a time in ticks."""
    tick = -(-at.numerator // at.denominator)
    return len(pts) if tick > int(pts[-1]) else int(np.searchsorted(pts, max(tick, int(pts[0]))))


def _shots(
    first: int,
    stop: int,
    signals: Mapping[str, F32],
    pts: I64,
    time_base: Fraction,
    end_pts: int,
    settings: ShotSettings,
    holes: Sequence[Hole],
) -> list[Shot]:
    """The clips of the frames [first, stop): of each stretch between holes one, or those that are found in it."""
    inside = [hole for hole in holes if first < hole.at < stop]
    end = next((hole.start_pts for hole in holes if hole.at == stop), end_pts if stop >= len(pts) else int(pts[stop]))
    starts, ends = [first, *(hole.at for hole in inside)], [*((hole.at, hole.start_pts) for hole in inside), (stop, end)]
    found: list[Shot] = []
    for k, (start, (until, end)) in enumerate(zip(starts, ends, strict=True)):
        shots = [Shot(Span(int(pts[start]), end), until - start, "list", "list")]
        if settings.within_spans:
            part = of_their_own({name: row[start:until] for name, row in signals.items()})
            shots = find_shots(part, pts[start:until], time_base, end, settings.model_copy(update={"trim_idle": 0.0}))
        shots[0] = replace(shots[0], start="hole" if k else "list")
        shots[-1] = replace(shots[-1], end="hole" if k < len(inside) else "list")
        found += shots
    return found
