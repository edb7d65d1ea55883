"""Captions, failures and cost, as the tables of the page show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rushes.engine.shares import bottleneck, busy_shares
from rushes.report import numbers
from rushes.report.data import ReportData, Row, base
from rushes.report.sheets import spread

CAPTIONS, FAILURES = 16, 40
"""Rows shown of captions and of each kind of failure."""


@dataclass(frozen=True)
class CaptionRow:
    """A caption and the clip it belongs to; `name` and `span` are blank for a clip that is not in the report."""

    name: str
    span: str
    row: Row


@dataclass(frozen=True)
class Captions:
    """What was said: sample rows and totals."""

    made: int
    failed: int
    pending: int
    models: Sequence[tuple[str, int]]
    finishes: Sequence[tuple[str, int]]
    prompt_tokens: str
    completion_tokens: str
    median_s: str
    sample: Sequence[CaptionRow]


@dataclass(frozen=True)
class Failure:
    """One failed video or caption. `mend` is what to do about it, blank if the error does not say."""

    what: str
    where: str
    error_type: str
    message: str
    mend: str


@dataclass(frozen=True)
class Failures:
    """One kind of failure: all of them by error type, and the first rows."""

    title: str
    total: int
    types: Sequence[tuple[str, int]]
    rows: Sequence[Failure]


@dataclass(frozen=True)
class Stage:
    """Busy seconds of one stage, summed over its workers; and what share of its capacity that is, as a bar (0 to 1) and in percent."""

    name: str
    seconds: str
    bar: float
    share: str


def captions(data: ReportData) -> Captions:
    """Totals of all captions and an evenly spread sample of those that were made."""
    clips = {clip["clip_id"]: clip for clip in data.clips}
    good = [row for row in data.captions if not row.get("error_type")]
    tried = {row["clip_id"] for row in data.captions}
    in_order = sorted(good, key=lambda row: _place(clips.get(row["clip_id"]), row))
    took = [float(row["seconds"]) for row in good if row.get("seconds") is not None]
    return Captions(
        made=len(good),
        failed=len(data.captions) - len(good),
        pending=sum(1 for clip in data.clips if clip["verdict"] == "kept" and clip["clip_id"] not in tried and clip.get("caption") is None),
        models=_ranked(row.get("model") for row in good),
        finishes=_ranked(row.get("finish_reason") for row in good),
        prompt_tokens=_total(good, "prompt_tokens"),
        completion_tokens=_total(good, "completion_tokens"),
        median_s=numbers.seconds(median(took)) if took else numbers.NONE,
        sample=[_caption_row(clips.get(row["clip_id"]), row) for row in spread(in_order, CAPTIONS)],
    )


def failures(data: ReportData) -> list[Failures]:
    """Failed videos and failed captions; a kind without a failure is left out."""
    clips = {clip["clip_id"]: clip for clip in data.clips}
    videos = [_failure(str(row["uri"]), "", row) for row in data.videos if row["status"] == "failed"]
    texts = []
    for row in data.captions:
        if row.get("error_type"):
            shown = _caption_row(clips.get(row["clip_id"]), row)
            texts.append(_failure(shown.name or str(row["clip_id"]), shown.span, row))
    kinds = (("Videos", videos), ("Captions", texts))
    return [Failures(title, len(rows), _ranked(row.error_type for row in rows), rows[:FAILURES]) for title, rows in kinds if rows]


def stages(data: ReportData) -> list[Stage]:
    """The stages, the most of whose capacity was busy first. Runs of older versions do not say their capacity: no bar then."""
    row = _speed(data)
    shares = {name: share for name, share in busy_shares(row).items() if name in row["capacity"]}
    ranked = sorted(row["busy_s"].items(), key=lambda item: (-shares.get(item[0], 0.0), -item[1], item[0]))
    return [
        Stage(name, numbers.seconds(value), min(1.0, shares.get(name, 0.0)), numbers.share(shares[name], 1) if name in shares else "")
        for name, value in ranked
    ]


def slowest(data: ReportData) -> str | None:
    """The bottleneck, as `rushes status` names it; None where the run does not say enough."""
    row = _speed(data)
    return bottleneck(row) if row["capacity"] else None


def _speed(data: ReportData) -> dict[str, Any]:
    """The run's row as far as its speed goes."""
    busy = {str(name): float(value) for name, value in (data.run.get("busy_s") or {}).items() if value is not None}
    return {"wall_s": float(data.run.get("wall_s") or 0.0), "busy_s": busy, "capacity": data.run.get("capacity") or {}}


def _place(clip: Row | None, row: Row) -> tuple[str, int, str]:
    return (str(clip["uri"]) if clip else "", int(clip["start_pts"]) if clip else 0, str(row["clip_id"]))


def _caption_row(clip: Row | None, row: Row) -> CaptionRow:
    if clip is None:
        return CaptionRow("", "", row)
    return CaptionRow(base(clip["uri"]), f"{numbers.clock(clip.get('start_s'))} to {numbers.clock(clip.get('end_s'))}", row)


def _failure(what: str, where: str, row: Row) -> Failure:
    """Errors of Rushes end in "Mend: ..." (see `RushesError`), unless the row has a `mend` of its own."""
    message, _, mend = str(row.get("error") or "").partition(" Mend: ")
    return Failure(what, where, str(row.get("error_type") or numbers.NONE), message, str(row.get("mend") or mend))


def _ranked(values: Any) -> list[tuple[str, int]]:
    totals = Counter(str(value) for value in values if value is not None)
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def _total(rows: Sequence[Row], key: str) -> str:
    known = [row[key] for row in rows if row.get(key) is not None]
    return numbers.count(sum(known)) if known else numbers.NONE
