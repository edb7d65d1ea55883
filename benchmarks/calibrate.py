"""Finds bounds for the default rules from clips with known damage, and judges each bound on sources from which it was not fitted.

    python -m benchmarks.calibrate ../shared/data [--out docs/calibration.md]

Reads DATA/quality (truth.json names source and damage of each clip) and DATA/footage (ordinary and odd files, for false alarms). For each
rule a bound is fitted on all sources but one and judged on the one left out, one after the other; beside it the page shows what the
recipe's bound does. Exits with 1 when the bounds of the recipe miss a target on the damaged clips or drop more clean clips than allowed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rushes.errors import VideoError
from rushes.measures import camera, exposure, motion, noise, sharpness, texture
from rushes.measures.clip_time import ClipTime
from rushes.recipe import Recipe
from rushes.records import VideoFacts, seconds
from rushes.scan.dense import DenseMotion
from rushes.scan.exposure import Exposure
from rushes.scan.grid import Grid
from rushes.scan.meters import Meters
from rushes.scan.motion import GlobalMotion
from rushes.scan.one_pass import scan

Measures = dict[str, float | str | None]

TARGETS = {"blurred": 0.95, "dark": 0.95, "black": 0.95, "overexposed": 0.95, "frozen": 0.95, "blocky": 0.8, "shaky": 0.8, "noisy": 0.8}
"""Least share of damaged clips dropped for any of the rules below, on sources not seen."""
CLEAN_MAX = 0.05
"""Largest share of clean clips dropped, on sources not seen."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A default rule, the column it bounds, on which side, and the damages it is there for (none: only its false alarms are looked at)."""

    rule: str
    column: str
    side: str
    damages: tuple[str, ...] = ()

    def badness(self, measures: Measures) -> float | None:
        """The column turned so that more is worse; None where it was not measured."""
        value = measures.get(self.column)
        if value is None or isinstance(value, str):
            return None
        return value if self.side == "max" else -value

    def bound(self, badness: float) -> float:
        """A badness as a bound of the rule."""
        return badness if self.side == "max" else -badness


JUDGED = (
    Judged("blurred", "sharpness", "min", ("blurred",)),
    Judged("dark", "dark_share", "max", ("dark", "black")),
    Judged("overexposed", "clipped_share", "max", ("overexposed",)),
    Judged("noisy", "noise", "max", ("noisy",)),
    Judged("blocky", "blockiness", "max", ("blocky",)),
    Judged("frozen", "freeze_share", "max", ("frozen",)),
    Judged("static", "static_share", "max"),
    Judged("shaky", "shake", "max", ("shaky",)),
    Judged("empty", "texture", "min"),
)


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip with known damage and what was measured on it."""

    source: str
    damage: str
    measures: Measures


def measure_file(path: Path) -> Measures:
    """All measures of a file taken as one clip, from one pass with the meters that the measures read.

    Raises:
        VideoError: the file could not be scanned.
    """

    def meters(facts: VideoFacts) -> Meters:
        return Meters(by_frame=(DenseMotion(), Grid()), by_batch=(Exposure(hdr=facts.hdr), GlobalMotion()))

    found = scan(str(path), Recipe(), meters=meters)
    end_s = seconds(found.end_pts - int(found.pts[0]), found.facts.time_base)
    t = np.array([seconds(int(pts - found.pts[0]), found.facts.time_base) for pts in found.pts])
    clip = ClipTime(slice(0, len(t)), t, end_s)
    out: Measures = {}
    for family in (sharpness, exposure, noise, texture):
        out.update(family.measure(found.signals, clip))
    out.update(motion.measure(found.signals, clip))
    out.update(camera.measure(found.signals, clip, found.facts.orientation))
    return out


def fit(bad: Sequence[float], clean: Sequence[float]) -> float | None:
    """The badness above which a clip is dropped: largest recall less false drops, in the middle of the widest gap that reaches it.

    None without a damaged or a clean clip to fit on.
    """
    if not bad or not clean:
        return None
    values = sorted({*bad, *clean})
    middles = [(low + high) / 2 for low, high in itertools.pairwise(values)]
    gaps = np.diff(values)
    if not middles:
        return None
    gain = [np.mean(np.array(bad) > cut) - np.mean(np.array(clean) > cut) for cut in middles]
    best = max(range(len(middles)), key=lambda i: (round(float(gain[i]), 9), gaps[i]))
    return middles[best]


def known(values: Iterable[float | None]) -> list[float]:
    """The values that were measured."""
    return [value for value in values if value is not None]


def fitted(clips: Sequence[Clip], judged: Judged, without: str | None = None) -> float | None:
    """The fitted badness of one rule, leaving out the clips of one source."""
    seen = [clip for clip in clips if clip.source != without]
    bad = known(judged.badness(clip.measures) for clip in seen if clip.damage in judged.damages)
    return fit(bad, known(judged.badness(clip.measures) for clip in seen if clip.damage == "clean"))


def share(flags: Iterable[bool]) -> float:
    """Share of True; NaN of nothing."""
    flags = list(flags)
    return sum(flags) / len(flags) if flags else math.nan


def from_recipe(recipe: Recipe) -> Callable[[Judged, str], float | None]:
    """The recipe's bounds as badness, the same for every source."""

    def bound(judged: Judged, _: str) -> float | None:
        rule = recipe.rules.get(judged.rule)
        value = None if rule is None else rule.min if judged.side == "min" else rule.max
        return None if value is None else value if judged.side == "max" else -value

    return bound


def dropped_by(clip: Clip, bound: Callable[[Judged, str], float | None], rules: Sequence[Judged] = JUDGED) -> list[str]:
    """The rules that drop a clip under bounds that may depend on its source."""
    out = []
    for judged in rules:
        cut, value = bound(judged, clip.source), judged.badness(clip.measures)
        if cut is not None and value is not None and value > cut:
            out.append(judged.rule)
    return out


def drop_share(clips: Iterable[Clip], bound: Callable[[Judged, str], float | None], rules: Sequence[Judged] = JUDGED) -> float:
    """Share of clips that any of the rules drops; NaN without clips."""
    return share(bool(dropped_by(clip, bound, rules)) for clip in clips)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]) + "\n"


def figure(value: float | None) -> str:
    """A number as the tables show it."""
    return "-" if value is None or math.isnan(value) else f"{value:.3g}"


def percent(value: float) -> str:
    """A share as the tables show it."""
    return "-" if math.isnan(value) else f"{100 * value:.0f} %"


def rules_table(clips: Sequence[Clip], unseen: Callable[[Judged, str], float | None], recipe: Callable[[Judged, str], float | None]) -> str:
    """One row a rule: what clean and damaged clips read, the fitted bound, and how it and the recipe's bound do."""
    rows = []
    for judged in JUDGED:
        clean = [clip for clip in clips if clip.damage == "clean"]
        bad = [clip for clip in clips if clip.damage in judged.damages]
        spans = []
        for group in (clean, bad):
            values = sorted(known(judged.badness(clip.measures) for clip in group))
            ends = (judged.bound(values[0]), judged.bound(values[len(values) // 2]), judged.bound(values[-1])) if values else ()
            spans.append(" / ".join(figure(value) for value in ends) or "-")
        cut, own = fitted(clips, judged), recipe(judged, "")
        shares = [percent(drop_share(group, bound, [judged])) for bound in (unseen, recipe) for group in (bad, clean)]
        proposed = [figure(None if value is None else judged.bound(value)) for value in (cut, own)]
        if not judged.damages:
            shares[0] = shares[1] = "-"
        rows.append((judged.rule, f"{judged.column} {judged.side}", *spans, proposed[0], *shares[:2], proposed[1], *shares[2:]))
    head = ("rule", "column", "clean: best / middle / worst", "damaged: least / middle / most")
    return table((*head, "fitted", "unseen: recall", "unseen: clean dropped", "recipe", "recall", "clean dropped"), rows)


def damages_table(clips: Sequence[Clip], bounds: Sequence[Callable[[Judged, str], float | None]]) -> str:
    """One row a damage: the share of its clips dropped by any rule, under each set of bounds, and the target."""
    rows = []
    for damage in ("clean", *TARGETS):
        group = [clip for clip in clips if clip.damage == damage]
        target = f"<= {percent(CLEAN_MAX)}" if damage == "clean" else f">= {percent(TARGETS[damage])}"
        rows.append((damage, len(group), *(percent(drop_share(group, bound)) for bound in bounds), target))
    return table(("clips", "number", "dropped, fitted on the other sources", "dropped, recipe", "target"), rows)


def sources_table(clips: Sequence[Clip], judged: Judged) -> str:
    """One row a source: the rule's column on the clean clip, on each damaged one, and the bound fitted without that source."""
    by = {(clip.source, clip.damage): clip.measures for clip in clips}
    rows = []
    for source in sorted({clip.source for clip in clips}):
        cells = []
        for damage in ("clean", *judged.damages):
            value = judged.badness(by.get((source, damage), {}))
            cells.append(figure(None if value is None else judged.bound(value)))
        cut = fitted(clips, judged, source)
        rows.append((source, *cells, figure(None if cut is None else judged.bound(cut))))
    return table(("source", "clean", *judged.damages, "bound from the others"), rows)


def footage_table(footage: Sequence[Clip], bound: Callable[[Judged, str], float | None]) -> str:
    """The files of the footage folder that a rule drops, and by which value."""
    rows = []
    for clip in footage:
        for rule in dropped_by(clip, bound):
            column = next(judged.column for judged in JUDGED if judged.rule == rule)
            value = clip.measures[column]
            rows.append((clip.source, rule, column, figure(value if isinstance(value, float) else None)))
    return table(("file", "rule", "column", "value"), rows) if rows else "None.\n"


def page(clips: Sequence[Clip], footage: Sequence[Clip], recipe: Recipe) -> str:
    """The whole page, as markdown."""

    def unseen(judged: Judged, source: str) -> float | None:
        return fitted(clips, judged, source)

    own = from_recipe(recipe)
    hit = [clip for clip in footage if dropped_by(clip, own)]
    parts = [
        "# How the default bounds were found\n",
        "Written by `python -m benchmarks.calibrate DATA --out docs/calibration.md`; do not edit by hand.\n",
        f"{len(clips)} clips of 5 s with known damage from {len({c.source for c in clips})} sources, each file one clip.",
        "A bound is fitted on all sources but one and judged on the one left out (largest recall less false",
        "drops, middle of the widest gap). The bounds of the profile `web` are nearer to the damage than the",
        "fitted ones where ordinary footage of other kinds has values in between.\n",
        "## Rules\n",
        rules_table(clips, unseen, own),
        "## Clips dropped by any of these rules\n",
        damages_table(clips, (unseen, own)),
        "## Footage without known damage\n",
        f"{len(hit)} of {len(footage)} files are dropped by a rule of `web`, each file taken as one clip.",
        "Test patterns, black and synthetic films are among them, so this list is no rate of error.\n",
        footage_table(footage, own),
        "## By source\n",
    ]
    for judged in JUDGED:
        parts += [f"### {judged.rule}: {judged.column} ({judged.side})\n", sources_table(clips, judged)]
    return "\n".join(parts)


def read_quality(data: Path) -> list[Clip]:
    """The clips of DATA/quality, measured."""
    truth = json.loads((data / "quality" / "truth.json").read_text())
    return [Clip(row["source"], row["damage"], measure_file(data / "quality" / row["file"])) for row in truth]


def read_footage(data: Path) -> list[Clip]:
    """The files of DATA/footage, measured; what cannot be scanned is named on stderr."""
    out = []
    for path in sorted((data / "footage").iterdir()):
        try:
            out.append(Clip(path.name, "unknown", measure_file(path)))
        except VideoError as error:
            print(error, file=sys.stderr)
    return out


def misses(clips: Sequence[Clip], recipe: Recipe) -> list[str]:
    """The targets that the recipe's bounds miss, in words."""
    bound = from_recipe(recipe)
    dropped = {damage: drop_share([c for c in clips if c.damage == damage], bound) for damage in ("clean", *TARGETS)}
    short = {damage: least for damage, least in TARGETS.items() if dropped[damage] < least}
    out = [f"{damage}: {percent(dropped[damage])} dropped, target {percent(least)}" for damage, least in short.items()]
    return out + ([f"clean: {percent(dropped['clean'])} dropped, at most {percent(CLEAN_MAX)}"] if dropped["clean"] > CLEAN_MAX else [])


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds quality/ and footage/")
    parser.add_argument("--out", type=Path, help="also write the page there")
    options = parser.parse_args(arguments)
    clips = read_quality(options.data)
    text = page(clips, read_footage(options.data), Recipe())
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    missed = misses(clips, Recipe())
    print("\n".join(["missed:", *missed]) if missed else "every target is met", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
