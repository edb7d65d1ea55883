"""Headline figures, and the funnel from footage to kept clips with whether its sums balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rushes.report import numbers
from rushes.report.data import ReportData

VERDICTS = ("kept", "dropped", "failed")


@dataclass(frozen=True)
class Part:
    """One piece of a stacked bar: its name (also its colour class), its amount, and the amount as text."""

    name: str
    value: float
    text: str


@dataclass(frozen=True)
class Bar:
    """One row of the funnel. `whole` is what the bar's full width stands for; `note` says whether the parts add up."""

    title: str
    text: str
    whole: float
    parts: Sequence[Part]
    note: str
    sound: bool = True


@dataclass(frozen=True)
class Figure:
    """One headline number with its label and a line of explanation."""

    label: str
    text: str
    note: str


def decode_ratio(data: ReportData) -> float | None:
    """Seconds decoded over seconds of footage of the run; None where it says neither, or scanned nothing."""
    decoded, footage = data.run.get("decoded_s"), data.run.get("footage_s")
    return decoded / footage if decoded is not None and footage else None


def headline(data: ReportData) -> str:
    """The page's first sentence."""
    totals, videos = data.totals, data.totals.n_videos
    return (
        f"{numbers.count(totals.clips.get('kept', 0))} of {numbers.count(totals.n_clips)} {_plural(totals.n_clips, 'clip')} kept, "
        f"from {_unbroken(numbers.seconds(totals.footage_s))} of footage in {numbers.count(videos)} {_plural(videos, 'video')}."
    )


def figures(data: ReportData) -> list[Figure]:
    """The headline numbers, in reading order."""
    run = data.run
    wall, footage = run.get("wall_s"), run.get("footage_s")
    rate = footage / wall if wall and footage is not None else None
    ratio, totals, clips = decode_ratio(data), data.totals, data.totals.n_clips
    kept, dropped, failed = (totals.clips.get(name, 0) for name in VERDICTS)
    return [
        Figure("videos", numbers.count(totals.n_videos), f"{numbers.count(run.get('videos_found'))} in this run"),
        Figure("footage", f"{numbers.hours(totals.footage_s)} h", numbers.seconds(totals.footage_s)),
        Figure("clips kept", numbers.count(kept), f"{numbers.share(kept, clips)} of {numbers.count(clips)}"),
        Figure("clips dropped", numbers.count(dropped), numbers.share(dropped, clips)),
        Figure("clips failed", numbers.count(failed), numbers.share(failed, clips)),
        Figure("captions", numbers.count(totals.made), f"{numbers.count(sum(totals.caption_errors.values()))} failed"),
        Figure(
            "decode ratio",
            numbers.NONE if ratio is None else f"{ratio:.2f}",
            "nothing decoded" if ratio is None else "decoded / footage seconds",
        ),
        Figure("wall time", numbers.seconds(wall), f"{numbers.short(rate)} video-hours per hour"),
    ]


def funnel(data: ReportData) -> list[Bar]:
    """Videos, seconds and clips, each as one bar whose parts must add up to its whole."""
    found = float(data.run.get("videos_found") or 0)
    ways = [("done", "videos_scanned"), ("reused", "videos_reused"), ("duplicate", "videos_duplicate"), ("failed", "videos_failed")]
    ways += [("forgotten", "videos_forgotten")] if data.run.get("videos_forgotten") else []
    videos = [_part(name, float(data.run.get(key) or 0)) for name, key in ways]
    totals = data.totals
    clips = [_part(name, float(totals.clips.get(name, 0))) for name in VERDICTS]
    clip_s, kept_s, footage_s = sum(totals.clip_s.values()), totals.clip_s.get("kept", 0.0), totals.footage_s
    rest_s = max(0.0, clip_s - kept_s)
    outside_s = max(0.0, footage_s - clip_s)
    time = [
        Part("kept", kept_s, numbers.seconds(kept_s)),
        Part("not kept", rest_s, numbers.seconds(rest_s)),
        Part("between clips", outside_s, numbers.seconds(outside_s)),
    ]
    return [
        _balanced("Videos found", found, videos),
        Bar(
            "Footage",
            numbers.seconds(footage_s),
            max(footage_s, clip_s),
            time,
            f"{numbers.seconds(clip_s)} lie in clips ({numbers.share(clip_s, footage_s)}), "
            f"{numbers.seconds(kept_s)} in kept ones ({numbers.share(kept_s, footage_s)})",
        ),
        _balanced("Clips", float(totals.n_clips), clips),
    ]


def _part(name: str, value: float) -> Part:
    return Part(name, value, numbers.count(value))


def _balanced(title: str, whole: float, parts: Sequence[Part]) -> Bar:
    total = sum(part.value for part in parts)
    equation = f"{numbers.count(whole)} = {' + '.join(part.text for part in parts)}"
    if total == whole:
        return Bar(title, numbers.count(whole), whole, parts, f"{equation}: the sums balance")
    return Bar(
        title,
        numbers.count(whole),
        max(whole, total),
        parts,
        f"{numbers.count(whole)} but the parts add up to {numbers.count(total)}",
        False,
    )


def _unbroken(text: str) -> str:
    """With no-break spaces, for a large heading."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _plural(n: int, word: str) -> str:
    return word if n == 1 else f"{word}s"
