"""The books of a run: headline figures, the funnel from footage to kept clips, and whether the sums balance."""

from __future__ import annotations

from collections import Counter
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


@dataclass(frozen=True)
class Books:
    """Totals of the rows given, and what is shown of them."""

    clips: int
    kept: int
    dropped: int
    failed: int
    footage_s: float
    clip_s: float
    kept_s: float
    captioned: int
    caption_failures: int
    decode_ratio: float | None


def count_books(data: ReportData) -> Books:
    """Totals over videos (status done, each once), clips and captions."""
    verdicts = Counter(str(clip["verdict"]) for clip in data.clips)
    decoded, footage = data.run.get("decoded_s"), data.run.get("footage_s")
    return Books(
        clips=len(data.clips),
        kept=verdicts["kept"],
        dropped=verdicts["dropped"],
        failed=verdicts["failed"],
        footage_s=sum(float(v.get("footage_s") or 0) for v in data.videos if v["status"] == "done"),
        clip_s=sum(float(c.get("duration_s") or 0) for c in data.clips),
        kept_s=sum(float(c.get("duration_s") or 0) for c in data.clips if c["verdict"] == "kept"),
        captioned=sum(1 for c in data.captions if not c.get("error_type")),
        caption_failures=sum(1 for c in data.captions if c.get("error_type")),
        decode_ratio=decoded / footage if decoded is not None and footage else None,
    )


def headline(data: ReportData, books: Books) -> str:
    """The page's first sentence."""
    videos = len(data.videos)
    return (
        f"{numbers.count(books.kept)} of {numbers.count(books.clips)} {_plural(books.clips, 'clip')} kept, "
        f"from {_unbroken(numbers.seconds(books.footage_s))} of footage in {numbers.count(videos)} {_plural(videos, 'video')}."
    )


def figures(data: ReportData, books: Books) -> list[Figure]:
    """The headline numbers, in reading order."""
    run = data.run
    wall, footage = run.get("wall_s"), run.get("footage_s")
    rate = footage / wall if wall and footage is not None else None
    ratio = books.decode_ratio
    return [
        Figure("videos", numbers.count(len(data.videos)), f"{numbers.count(run.get('videos_found'))} in this run"),
        Figure("footage", f"{numbers.hours(books.footage_s)} h", numbers.seconds(books.footage_s)),
        Figure("clips kept", numbers.count(books.kept), f"{numbers.share(books.kept, books.clips)} of {numbers.count(books.clips)}"),
        Figure("clips dropped", numbers.count(books.dropped), numbers.share(books.dropped, books.clips)),
        Figure("clips failed", numbers.count(books.failed), numbers.share(books.failed, books.clips)),
        Figure("captions", numbers.count(books.captioned), f"{numbers.count(books.caption_failures)} failed"),
        Figure(
            "decode ratio",
            numbers.NONE if ratio is None else f"{ratio:.2f}",
            "nothing decoded" if ratio is None else "decoded / footage seconds",
        ),
        Figure("wall time", numbers.seconds(wall), f"{numbers.short(rate)} video-hours per hour"),
    ]


def funnel(data: ReportData, books: Books) -> list[Bar]:
    """Videos, seconds and clips, each as one bar whose parts must add up to its whole."""
    found = float(data.run.get("videos_found") or 0)
    ways = [("done", "videos_scanned"), ("reused", "videos_reused"), ("duplicate", "videos_duplicate"), ("failed", "videos_failed")]
    videos = [_part(name, float(data.run.get(key) or 0)) for name, key in ways]
    clips = [_part(name, float(getattr(books, name))) for name in VERDICTS]
    rest_s = max(0.0, books.clip_s - books.kept_s)
    outside_s = max(0.0, books.footage_s - books.clip_s)
    time = [
        Part("kept", books.kept_s, numbers.seconds(books.kept_s)),
        Part("not kept", rest_s, numbers.seconds(rest_s)),
        Part("between clips", outside_s, numbers.seconds(outside_s)),
    ]
    return [
        _balanced("Videos found", found, videos),
        Bar(
            "Footage",
            numbers.seconds(books.footage_s),
            max(books.footage_s, books.clip_s),
            time,
            f"{numbers.seconds(books.clip_s)} lie in clips ({numbers.share(books.clip_s, books.footage_s)}), "
            f"{numbers.seconds(books.kept_s)} in kept ones ({numbers.share(books.kept_s, books.footage_s)})",
        ),
        _balanced("Clips", float(books.clips), clips),
    ]


def _part(name: str, value: float) -> Part:
    return Part(name, value, numbers.count(value))


def _balanced(title: str, whole: float, parts: Sequence[Part]) -> Bar:
    total = sum(part.value for part in parts)
    equation = f"{numbers.count(whole)} = {' + '.join(part.text for part in parts)}"
    if total == whole:
        return Bar(title, numbers.count(whole), whole, parts, f"{equation}: the books balance")
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
