"""Distribution of one measure over the clips, stacked by verdict, with the bounds of the rules that look at it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.records import Column
from rushes.report import numbers
from rushes.report.data import ReportData, cell
from rushes.report.funnel import VERDICTS

if TYPE_CHECKING:
    from rushes.recipe import Rule

F64 = npt.NDArray[np.float64]

BINS = 36
TAIL = 99.0
"""Percentile at which a long tail is folded into the last bin, so that one outlier does not squeeze all the rest."""
LABELS = 7
"""Label rows shown; the rest is one row "other"."""
WIDTH, HEIGHT = 320.0, 96.0
"""The plot area, in SVG units."""


@dataclass(frozen=True)
class Rect:
    """One piece of a column, in SVG units, y downwards."""

    verdict: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Bin:
    """One column: what it covers in words, and its pieces."""

    title: str
    rects: Sequence[Rect]


@dataclass(frozen=True)
class Bound:
    """A rule's bound at `x`; `side` is "min" or "max"; `beyond` when it lies outside the plot, where it is drawn at the edge."""

    rule: str
    side: str
    value: str
    x: float
    beyond: bool


@dataclass(frozen=True)
class Label:
    """One row of a label column: its clips by verdict, as (verdict, count, share of the longest row)."""

    text: str
    total: int
    parts: Sequence[tuple[str, int, float]]


@dataclass(frozen=True)
class Chart:
    """What the page shows of one column. Either `bins` or `labels` is filled; neither when nothing was measured."""

    name: str
    unit: str
    doc: str
    measured: int
    missing: int
    median: str
    rules: Sequence[str]
    bins: Sequence[Bin] = ()
    bounds: Sequence[Bound] = ()
    ticks: Sequence[tuple[float, str]] = ()
    peak: str = ""
    folded: str = ""
    labels: Sequence[Label] = ()
    width: float = field(default=WIDTH, init=False)
    height: float = field(default=HEIGHT, init=False)


def charts(data: ReportData) -> list[Chart]:
    """One chart for every documented column, every measure found, and every column a rule looks at; those with a rule first."""
    ruled = [rule.column or name for name, rule in data.rules.items()]
    found: dict[str, None] = {}
    for clip in data.clips:
        found.update(dict.fromkeys(clip.get("measures") or ()))
    names = dict.fromkeys([*ruled, *data.columns, *found])
    verdicts = np.array([VERDICTS.index(clip["verdict"]) for clip in data.clips], np.int8)
    return [_chart(name, data, verdicts) for name in names]


def _chart(name: str, data: ReportData, verdicts: npt.NDArray[np.int8]) -> Chart:
    column = data.columns.get(name) or Column(name, "float", "", "")
    rules = {rule_name: rule for rule_name, rule in data.rules.items() if (rule.column or rule_name) == name}
    values = [cell(clip, name) for clip in data.clips]
    if column.kind in ("text", "bool", "time") or any(isinstance(v, (str, bool)) for v in values):
        return _label_chart(column, values, verdicts, list(rules))
    array = np.array([math.nan if v is None else v for v in values], np.float64)
    good = np.isfinite(array)
    return _histogram(column, array[good], verdicts[good], len(values), rules)


def _label_chart(column: Column, values: Sequence[Any], verdicts: npt.NDArray[np.int8], rules: Sequence[str]) -> Chart:
    pairs = [(numbers.short(v), int(k)) for v, k in zip(values, verdicts, strict=True) if v is not None]
    totals = Counter(text for text, _ in pairs)
    ranked = sorted(totals, key=lambda text: (-totals[text], text))
    shown = ranked if len(ranked) <= LABELS else ranked[: LABELS - 1]
    other = f"{len(ranked) - len(shown):,} others"
    kept = set(shown)
    cells = Counter((text if text in kept else other, k) for text, k in pairs)
    rows = [*shown, *([other] if len(ranked) > len(shown) else [])]
    sums = {row: sum(cells[row, k] for k in range(len(VERDICTS))) for row in rows}
    longest = max(sums.values(), default=1)
    labels = [
        Label(row, sums[row], [(VERDICTS[k], cells[row, k], cells[row, k] / longest) for k in range(len(VERDICTS)) if cells[row, k]])
        for row in rows
    ]
    return Chart(column.name, column.unit, column.doc, len(pairs), len(values) - len(pairs), "", rules, labels=labels)


def _histogram(column: Column, values: F64, verdicts: npt.NDArray[np.int8], total: int, rules: dict[str, Rule]) -> Chart:
    rule_names = list(rules)
    if not len(values):
        return Chart(column.name, column.unit, column.doc, 0, total, numbers.NONE, rule_names)
    limits = [
        (name, side, bound) for name, rule in rules.items() for side, bound in (("min", rule.min), ("max", rule.max)) if bound is not None
    ]
    edges, folded = _edges(values, limits)
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], -math.inf))
    counts = np.stack([np.histogram(inside[verdicts == k], edges)[0] for k in range(len(VERDICTS))])
    low, high = float(edges[0]), float(edges[-1])

    def at(value: float) -> float:
        return round((value - low) / (high - low) * WIDTH, 2)

    bounds = [
        Bound(name, side, numbers.short(value), min(max(at(value), 0.0), WIDTH), not low <= value <= high) for name, side, value in limits
    ]
    return Chart(
        column.name,
        column.unit,
        column.doc,
        len(values),
        total - len(values),
        numbers.short(float(np.median(values))),
        rule_names,
        bins=_bins(edges, counts, folded),
        bounds=bounds,
        ticks=[(at(value), numbers.short(value)) for value in _ticks(low, high)],
        peak=numbers.count(float(counts.sum(axis=0).max())),
        folded=f"{folded:,} above, in the last bar" if folded else "",
    )


def _edges(values: F64, limits: Sequence[tuple[str, str, float]]) -> tuple[F64, int]:
    """Bin edges (BINS or so, equal width) and the number of values folded into the last bin.

    One edge lies on the first bound inside the plot, so that no column straddles it. Bounds are inclusive, hence an edge at
    `min`, or just above `max`.
    """
    low, high = float(values.min()), float(values.max())
    tail = float(np.percentile(values, TAIL))
    if high - low > 2 * (tail - low) > 0:
        high = tail
    room = (high - low) or abs(high) or 1.0
    for _, _, bound in limits:
        if low - room <= bound <= high + room:
            low, high = min(low, bound), max(high, bound)
    span = (high - low) or abs(high) or 1.0
    step = span / BINS
    inside = [bound if side == "min" else float(np.nextafter(bound, math.inf)) for _, side, bound in limits if low <= bound <= high]
    anchor = inside[0] if inside else low
    start = anchor + math.floor((low - anchor) / step) * step
    number = math.floor((high - start) / step) + 1
    edges = np.asarray(start + step * np.arange(number + 1), np.float64)
    edges[np.argmin(np.abs(edges - anchor))] = anchor
    return edges, int((values > edges[-1]).sum())


def _bins(edges: F64, counts: npt.NDArray[np.int64], folded: int) -> list[Bin]:
    """Stacked columns, kept at the foot."""
    peak = max(1, int(counts.sum(axis=0).max()))
    step = WIDTH / (len(edges) - 1)
    bins = []
    for i, column in enumerate(counts.T):
        if not column.any():
            continue
        y, rects = HEIGHT, []
        for k, amount in enumerate(column):
            height = float(amount) / peak * HEIGHT
            if height:
                y = max(0.0, y - height)
                rects.append(Rect(VERDICTS[k], round(i * step + 0.4, 2), round(y, 2), round(step - 0.8, 2), round(height, 2)))
        last = folded and i == counts.shape[1] - 1
        to = "and above" if last else f"to {numbers.short(float(edges[i + 1]))}"
        said = ", ".join(f"{amount:,} {VERDICTS[k]}" for k, amount in enumerate(column) if amount)
        bins.append(Bin(f"{numbers.short(float(edges[i]))} {to}: {said}", rects))
    return bins


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers inside [low, high]: multiples of 1, 2 or 5 times a power of ten, three to six of them."""
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(power * k for k in (5, 2, 1) if power * k <= (high - low) / 3)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]
