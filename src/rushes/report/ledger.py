"""Captions, failures and cost, as the tables of the page show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rushes.report import numbers
from rushes.report.data import ReportData, Row, base
from rushes.report.said import Said
from rushes.report.sheets import spread
from rushes.results.shares import bottleneck, busy_shares

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
    per_s: str
    cost: str
    loops: int
    said: Said
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
    """Totals of all captions, and an evenly spread sample of those that were made. The median time is that of the rows given."""
    totals = data.totals
    good = sorted((row for row in data.captions if not row.get("error_type")), key=_place)
    took = [float(row["seconds"]) for row in good if row.get("seconds") is not None]
    return Captions(
        made=totals.made,
        failed=sum(totals.caption_errors.values()),
        pending=totals.pending,
        models=_ranked(totals.models),
        finishes=_ranked(totals.finishes),
        prompt_tokens=numbers.count(totals.prompt_tokens),
        completion_tokens=numbers.count(totals.completion_tokens),
        median_s=numbers.seconds(median(took)) if took else numbers.NONE,
        per_s=_rates(data.run),
        cost=_cost(data),
        loops=totals.caption_errors.get("loop", 0),
        said=totals.said,
        sample=[_caption_row(row) for row in spread(good, CAPTIONS)],
    )


def _rates(run: Row) -> str:
    """Captions and written tokens a second of the newest run, over its wall time; blank where it made none."""
    wall_s, made = float(run.get("wall_s") or 0.0), int(run.get("captions_made") or 0)
    if not made or not wall_s:
        return ""
    tokens = int(run.get("completion_tokens") or 0)
    return f"{numbers.short(made / wall_s)} captions/s" + (f", {numbers.short(tokens / wall_s)} tokens/s" if tokens else "")


def _cost(data: ReportData) -> str:
    """What the captions cost at the recipe's prices; blank where it states none."""
    counts = (data.totals.prompt_tokens or 0, data.totals.completion_tokens or 0)
    total = sum(price * n / 1e6 for price, n in zip(data.prices, counts, strict=True))
    return numbers.short(total) if any(data.prices) else ""


def published(data: ReportData) -> list[Row]:
    """The newest publish of each target: where to, its version, what it changed, and what the check found."""
    found: list[Row] = []
    for row in data.published:
        counts, problems = json.loads(row["counts"]), json.loads(row["problems"])
        changed = ", ".join(f"{numbers.count(counts[name])} {name}" for name in ("added", "changed", "removed") if counts[name])
        right = row["verdict"] == "right" and not row["failed"]
        failed = [f"{numbers.count(row['failed'])} clips could not be published"] if row["failed"] else []
        told = {"changed": changed, "verdict": "right" if right else "wrong", "problems": [*failed, *problems]}
        found.append({name: row[name] for name in ("target", "version", "by", "rows")} | {"at": row["ended_at"]} | told)
    return found


def failures(data: ReportData) -> list[Failures]:
    """Failed videos and failed captions; a kind without a failure is left out."""
    videos = sorted((row for row in data.videos if row["status"] == "failed"), key=lambda row: str(row["uri"]))
    texts = sorted((row for row in data.captions if row.get("error_type")), key=_place)
    shown = (
        ("Videos", data.totals.video_errors, [_failure(str(row["uri"]), "", row) for row in videos[:FAILURES]]),
        ("Captions", data.totals.caption_errors, [_failed_caption(row) for row in texts[:FAILURES]]),
    )
    return [Failures(title, sum(types.values()), _ranked(types), rows) for title, types, rows in shown if types]


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


def _place(row: Row) -> tuple[str, int, str]:
    return (str(row.get("uri") or ""), int(row.get("start_pts") or 0), str(row["clip_id"]))


def _caption_row(row: Row) -> CaptionRow:
    if not row.get("uri"):
        return CaptionRow("", "", row)
    return CaptionRow(base(row["uri"]), f"{numbers.clock(row.get('start_s'))} to {numbers.clock(row.get('end_s'))}", row)


def _failed_caption(row: Row) -> Failure:
    shown = _caption_row(row)
    return _failure(shown.name or str(row["clip_id"]), shown.span, row)


def _failure(what: str, where: str, row: Row) -> Failure:
    """Rows of older versions have no `mend`: their `error` says it, and is shown as it is."""
    return Failure(what, where, str(row.get("error_type") or numbers.NONE), str(row.get("error") or ""), str(row.get("mend") or ""))


def _ranked(totals: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))
