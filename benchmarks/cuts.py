"""How well shots are found, against known transitions, next to PySceneDetect on the same files in the same run.

    python benchmarks/cuts.py ../shared/data/cuts                       both modes, every file of truth.json
    python benchmarks/cuts.py ../shared/data/cuts --single DIR_OR_FILES single-shot footage: false cuts and transitions a minute

Scoring (after TRECVID, as PySceneDetect's own benchmark does): each truth is matched with at most one detection, nearest first, and each
detection with at most one truth. A hard cut counts when the detected frame is within `tolerance` frames. A gradual transition counts
when a detection overlaps it; a PySceneDetect cut is a detection without length.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.recipe import Recipe, ShotSettings
from rushes.scan.one_pass import Scan, scan
from rushes.shots.find import cuts_of, transitions_of
from rushes.shots.spans import absorb, ticks

F64 = npt.NDArray[np.float64]
MIN_S = 0.3
PEERS = ("adaptive", "content", "hash", "histogram")
"""PySceneDetect's detectors of hard cuts."""
TARGETS = {
    "hard cuts": ("rushes combined", "hard_f1", 0.98),
    "gradual": ("rushes combined", "gradual_f1", 0.93),
    "gradual, fast mode": ("rushes combined fast", "gradual_f1", 0.93),
}
MAX_EXTENT_S = 0.15
MAX_FALSE_A_MINUTE = 0.1


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector found in one video, in seconds from the first frame: hard cuts, and (start, end) of gradual transitions."""

    cuts: list[float]
    gradual: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of one comparison; add them up with `+`."""

    hits: int = 0
    misses: int = 0
    false: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.hits + other.hits, self.misses + other.misses, self.false + other.false)

    @property
    def recall(self) -> float:
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 1.0

    @property
    def precision(self) -> float:
        return self.hits / (self.hits + self.false) if self.hits + self.false else 1.0

    @property
    def f1(self) -> float:
        total = 2 * self.hits + self.misses + self.false
        return 2 * self.hits / total if total else 1.0


def match_cuts(truth: list[float], found: list[float], times: F64, tolerance: int) -> Score:
    """Hard cuts: a truth and a detection match when their frames are at most `tolerance` apart.

    Args:
        truth: seconds of the first frame of each new shot.
        found: detected seconds.
        times: seconds of all frames of the video, increasing; both lists are turned into the nearest frame's index.
        tolerance: frames; 0 is frame-exact.
    """
    wanted, got = (sorted(int(np.argmin(np.abs(times - s))) for s in side) for side in (truth, found))
    pairs = sorted((abs(w - g), i, j) for i, w in enumerate(wanted) for j, g in enumerate(got) if abs(w - g) <= tolerance)
    used_w: set[int] = set()
    used_g: set[int] = set()
    for _, i, j in pairs:
        if i not in used_w and j not in used_g:
            used_w.add(i)
            used_g.add(j)
    return Score(len(used_w), len(wanted) - len(used_w), len(got) - len(used_g))


def match_gradual(truth: list[tuple[float, float]], found: list[tuple[float, float]]) -> tuple[Score, list[tuple[float, float]]]:
    """Gradual transitions: one detection that overlaps [start, end] counts; largest overlap first.

    Returns:
        The score, and (found - true start, found - true end) in seconds of each hit.
    """
    pairs = sorted(
        (-(min(t[1], f[1]) - max(t[0], f[0])), i, j)
        for i, t in enumerate(truth)
        for j, f in enumerate(found)
        if min(t[1], f[1]) >= max(t[0], f[0])
    )
    matched: dict[int, int] = {}
    for _, i, j in pairs:
        if i not in matched and j not in matched.values():
            matched[i] = j
    errors = [(found[j][0] - truth[i][0], found[j][1] - truth[i][1]) for i, j in matched.items()]
    return Score(len(matched), len(truth) - len(matched), len(found) - len(matched)), errors


def signals_of(path: Path, mode: str, *more: str) -> Scan:
    """One pass over a video; `more`: further settings."""
    return scan(str(path), Recipe().with_overrides([f"scan.mode={mode}", *more]))


def ours(one: Scan, settings: ShotSettings) -> Found:
    """Our cuts and transitions, as the shots step has them before it makes spans."""
    base = one.facts.time_base
    cuts, gradual = cuts_of(one.signals, one.pts, base, settings), []
    if settings.gradual:
        gradual = transitions_of(one.signals, one.pts, base)
    left, gradual = absorb(cuts, gradual, one.pts, ticks(settings.min_s, base))
    t = times_of(one)
    return Found([float(t[c]) for c in left], [(float(t[x.start]), float(t[x.end])) for x in gradual])


def times_of(one: Scan) -> F64:
    """Seconds of each decoded frame from the first."""
    return np.asarray((one.pts - one.pts[0]) * float(one.facts.time_base))


def peer(path: Path, name: str) -> Found:
    """PySceneDetect's cuts, its own way: its decoder, its size, minimum length 0.3 s."""
    import scenedetect

    kind = getattr(scenedetect, f"{name.capitalize()}Detector")
    video = scenedetect.open_video(str(path), backend="pyav")
    manager = scenedetect.SceneManager()
    manager.add_detector(kind(min_scene_len=MIN_S))
    manager.detect_scenes(video)
    return Found([cut.seconds for cut in (start for start, _ in manager.get_scene_list()[1:])], [])


def truth_of(entry: dict[str, Any]) -> Found:
    """The known transitions of one file of truth.json."""
    cuts = [x["time_s"] for x in entry["transitions"] if x["kind"] == "cut"]
    return Found(cuts, [(x["start_s"], x["end_s"]) for x in entry["transitions"] if x["kind"] != "cut"])


def compare(truth: Found, found: Found, times: F64) -> dict[str, Any]:
    """Scores of one file: hard cuts exact and within one frame, gradual transitions, and the errors of their extents.

    A detected cut inside a known gradual transition is a detection of it, not a false cut; a transition found over a known cut is false.
    """
    inside = [c for c in found.cuts if any(a <= c <= b for a, b in truth.gradual)]
    points = [(c, c) for c in inside]
    gradual, errors = match_gradual(truth.gradual, found.gradual + points)
    rest = [c for c in found.cuts if c not in inside]
    return {
        "exact": match_cuts(truth.cuts, rest, times, 0),
        "one": match_cuts(truth.cuts, rest, times, 1),
        "gradual": gradual,
        "errors": errors if found.gradual else [],
    }


def report_truth(folder: Path, *, transnet: bool = False, names: str = "*") -> dict[str, Any]:
    """Every file of the truth set, every detector, both modes; prints a table and returns the means.

    Args:
        folder: with truth.json and its files.
        transnet: whether the network is run, too: it takes ten times as long as all the others.
        names: pattern of the files.
    """
    truths = {name: entry for name, entry in json.loads((folder / "truth.json").read_text()).items() if fnmatch(name, names)}
    rows: dict[str, list[dict[str, Any]]] = {}
    print(f"{'file':28} {'detector':22} {'hard R/P/F1 exact':>20} {'F1 +-1':>7} {'gradual R/P/F1':>18} {'extent median s':>16}")
    for name, entry in truths.items():
        truth = truth_of(entry)
        exact = signals_of(folder / name, "exact", *(["shots.detector=transnet"] if transnet else []))
        for label, found, times in detections(folder / name, exact):
            row = compare(truth, found, times)
            rows.setdefault(label, []).append(row)
            print(f"{name:28} {label:22} {line_of(row, truth)}")
    return {label: means(group) for label, group in rows.items()}


def detections(path: Path, exact: Scan) -> list[tuple[str, Found, F64]]:
    """Each detector's cuts and transitions in one file, with the times of the frames it saw."""
    fast = signals_of(path, "fast")
    settings = {name: ShotSettings(detector=name, min_s=MIN_S) for name in ("combined", "adaptive", "content")}
    out = [(f"rushes {name}", ours(exact, s), times_of(exact)) for name, s in settings.items()]
    out.append(("rushes combined fast", ours(fast, settings["combined"]), times_of(exact)))
    for label, gradual in (("rushes transnet", True), ("transnet alone", False)) if "transnet" in exact.signals else ():
        network = ShotSettings(detector="transnet", min_s=MIN_S, gradual=gradual)
        out.append((label, ours(exact, network), times_of(exact)))
    out += [(f"scenedetect {name}", peer(path, name), times_of(exact)) for name in PEERS]
    return out


def line_of(row: dict[str, Any], truth: Found) -> str:
    """One printed row."""
    hard, one, gradual = row["exact"], row["one"], row["gradual"]
    text = f"{hard.recall:6.3f} {hard.precision:6.3f} {hard.f1:6.3f} {one.f1:7.3f}"
    if not truth.cuts:
        text = f"{hard.false:4d} false cuts" + " " * 14
    if truth.gradual:
        text += f" {gradual.recall:6.3f} {gradual.precision:5.3f} {gradual.f1:5.3f}"
    elif gradual.false:
        text += f" {gradual.false} false"
    if row["errors"]:
        start, end = (np.median(np.abs([e[i] for e in row["errors"]])) for i in (0, 1))
        text += f"   {start:.3f} / {end:.3f}"
    return text


def means(group: list[dict[str, Any]]) -> dict[str, float]:
    """Mean F1 over the files with hard cuts, pooled F1 of gradual transitions, median errors of their extents."""
    hard = [r for r in group if r["exact"].hits + r["exact"].misses]
    pooled = sum((r["gradual"] for r in group if r["gradual"].hits + r["gradual"].misses), Score())
    errors = [abs(e) for r in group for pair in r["errors"] for e in pair]
    return {
        "hard_f1": float(np.mean([r["exact"].f1 for r in hard])) if hard else 1.0,
        "hard_f1_one_frame": float(np.mean([r["one"].f1 for r in hard])) if hard else 1.0,
        "gradual_f1": pooled.f1,
        "extent_median_s": float(np.median(errors)) if errors else float("nan"),
    }


def report_single(paths: list[Path]) -> float:
    """Footage of one shot each: whatever is found is false. Returns false gradual transitions a minute, the worse mode's."""
    worst = 0.0
    settings = {name: ShotSettings(detector=name, min_s=MIN_S) for name in ("combined", "adaptive", "content")}
    for mode in ("exact", "fast"):
        minutes, false_gradual = 0.0, 0
        false_cuts = dict.fromkeys(settings, 0)
        for path in paths:
            one = signals_of(path, mode)
            minutes += one.footage_s / 60
            for name, s in settings.items():
                found = ours(one, s)
                false_cuts[name] += len(found.cuts)
                if name == "combined":
                    false_gradual += len(found.gradual)
                    if found.cuts or found.gradual:
                        print(f"  {mode} {path.name}: cuts {np.round(found.cuts, 2)}, gradual {np.round(found.gradual, 2).tolist()}")
        rates = ", ".join(f"{name} {count / minutes:.2f}" for name, count in false_cuts.items())
        print(f"{mode}: {len(paths)} files, {minutes:.1f} min; a minute: false gradual {false_gradual / minutes:.3f}; false cuts {rates}")
        worst = max(worst, false_gradual / minutes)
    return worst


def false_boundaries(paths: list[Path], detector: str) -> tuple[float, int]:
    """Minutes of footage of one shot each, and the cuts and transitions found in it; prints those."""
    minutes, false = 0.0, 0
    for path in paths:
        one = signals_of(path, "exact")
        found = ours(one, ShotSettings(detector=detector, min_s=MIN_S))
        minutes, false = minutes + one.footage_s / 60, false + len(found.cuts) + len(found.gradual)
        if found.cuts or found.gradual:
            print(f"  {path.name}: cuts {np.round(found.cuts, 2)}, gradual {np.round(found.gradual, 2).tolist()}")
    return minutes, false


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path, help="folder with truth.json and its files")
    parser.add_argument("--single", type=Path, nargs="+", default=[], help="files or folders of single-shot footage")
    args = parser.parse_args()
    began = time.perf_counter()
    results = report_truth(args.truth)
    for label, mean in results.items():
        print(f"mean {label:22} " + "  ".join(f"{key} {value:.3f}" for key, value in mean.items()))
    missed = [name for name, (label, key, bound) in TARGETS.items() if results[label][key] < bound]
    if max(results[label]["extent_median_s"] for label in ("rushes combined", "rushes combined fast")) > MAX_EXTENT_S:
        missed.append("extents")
    files = [f for p in args.single for f in (sorted(p.glob("*.mp4")) if p.is_dir() else [p])]
    if files and report_single(files) > MAX_FALSE_A_MINUTE:
        missed.append("false gradual transitions")
    print(f"missed: {', '.join(missed)}" if missed else "no target missed")
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
