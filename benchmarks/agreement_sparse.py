"""How far the sparse scan agrees with the exact one: the verdicts of equal spans, and the error of each measure.

    python -m benchmarks.agreement_sparse [--gop 1.0] [--burst 3] [--codec av1] [--columns noise] [--sets quality footage asis cuts]

The clips of DATA/quality (known damage) and the films of DATA/footage are encoded anew by x264 or SVT-AV1 with a closed group of pictures
each GOP seconds, at their own size and rate (footage: at most 960 pixels wide, and 20 s). Both modes scan the new file, cut it into pieces
by the detector `stride`, and judge these by the rules of both profiles. DATA/footage is also scanned as it is; most of it has key frames
too far apart, so that the mode in force is not sparse. On DATA/cuts, encoded anew likewise, the cuts of the detector `content` in both
modes are compared with the known ones, frame by frame.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av

from benchmarks import render
from benchmarks.cuts import Score, match_cuts, ours, times_of, truth_of
from benchmarks.targets import Targets
from rushes.engine.stages import content_threshold
from rushes.errors import VideoError
from rushes.recipe import Recipe
from rushes.rows.clip_columns import clip_reasons
from rushes.rows.scanned import Stamp, clip_rows, scanned_row
from rushes.rows.signals import Series
from rushes.scan.one_pass import Scan, scan
from rushes.scan.sparse import Dense, scan_sparse

AGREE = 0.97
"""Least share of equal spans with the same verdict."""
SETS = ("quality", "footage", "asis", "cuts")
NAMES = {"asis": "footage as it is"}
LONGEST_S, WIDEST = 20.0, 960
PRINTS = dict.fromkeys(("scan", "shots", "measures"), "")
STAMP = Stamp("", datetime.now(UTC))


@dataclass(slots=True)
class Seen:
    """What was compared so far.

    Attributes:
        verdicts: profile -> whether both modes give the same verdict, one a span.
        reasons: profile -> the same for the whole list of reasons.
        differ: rules that only one of the modes has a span dropped by, with the mode.
        errors: measure -> (exact, sparse) of each span where both have a number.
        missing: measure -> spans in which only the sparse scan has none.
        labels: (exact, sparse) labels of the camera.
        decoded_s, footage_s: of the sparse scans.
        dense: why files were not scanned in sparse mode -> how many.
    """

    verdicts: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    reasons: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    differ: Counter[str] = field(default_factory=Counter)
    errors: dict[str, list[tuple[float, float, str]]] = field(default_factory=lambda: defaultdict(list))
    missing: Counter[str] = field(default_factory=Counter)
    labels: Counter[tuple[Any, Any]] = field(default_factory=Counter)
    decoded_s: float = 0.0
    footage_s: float = 0.0
    dense: Counter[str] = field(default_factory=Counter)


def recipe(profile: str, burst: int) -> Recipe:
    """The rules of a profile, pieces of 10 s."""
    shots = {"detector": "stride", "gradual": False}
    return Recipe.parse({"scan": {"mode": "sparse", "sparse_burst": burst}, "shots": shots}, profile=profile)


def grouped(source: Path, gop_s: float, folder: str, codec: str, longest_s: float = LONGEST_S) -> Path:
    """A film encoded anew with a key frame each `gop_s` seconds; its first `longest_s` seconds."""
    name = f"{folder}-{source.stem}-gop{gop_s:g}{'' if codec == 'h264' else '-' + codec}.mp4"
    return render.once(name, lambda path: _encode(source, path, gop_s, codec, longest_s))


def _encode(source: Path, path: Path, gop_s: float, codec: str, longest_s: float) -> None:
    with av.open(str(source)) as film, av.open(str(path), "w") as out:
        stream = film.streams.video[0]
        rate = stream.guessed_rate or 25
        gop = max(1, round(float(rate) * gop_s))
        encoder, options = {
            "h264": ("libx264", {"preset": "veryfast", "crf": "18", "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"}),
            "av1": ("libsvtav1", {"preset": "10", "crf": "30", "svtav1-params": f"keyint={gop}:irefresh-type=2:scd=0:lp=1"}),
        }[codec]
        made: Any = None
        first = last = None
        for frame in film.decode(stream):
            if frame.pts is None or (last is not None and frame.pts <= last):
                continue
            first, last = frame.pts if first is None else first, frame.pts
            if (frame.pts - first) * stream.time_base > longest_s:
                break
            if made is None:
                scale = min(1.0, WIDEST / frame.width)
                made = out.add_stream(encoder, rate=rate, options=options)
                made.width, made.height = (max(16, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
                made.pix_fmt, made.time_base = "yuv420p", stream.time_base
            small = frame.reformat(made.width, made.height, "yuv420p")
            small.pts, small.time_base, small.pict_type = frame.pts - first, stream.time_base, 0
            out.mux(made.encode(small))
        out.mux(made.encode(None))


def rows(found: Scan, how: Recipe, way: str) -> Iterator[tuple[tuple[int, int], dict[str, Any], list[str]]]:
    """Span, measures and reasons of each piece."""
    made = clip_rows(Series.of(way, found), how, PRINTS, STAMP)
    reasons = clip_reasons(how, made["clips"], made["measures"], {**scanned_row(found, 0.0), "uri": way})
    for clip, measures, why in zip(made["clips"], made["measures"], reasons, strict=True):
        yield (clip["start_pts"], clip["end_pts"]), measures, [one["rule"] for one in why]


def compare(path: Path, seen: Seen, burst: int) -> None:
    """Scans one file both ways, and notes what differs."""
    whole = recipe("web", burst)
    sparse = scan_sparse(str(path), whole, uri=path.name)
    if isinstance(sparse, Dense):
        seen.dense[sparse.why] += 1
        return
    exact = scan(str(path), whole.model_copy(update={"scan": whole.scan.model_copy(update={"mode": "exact"})}))
    seen.decoded_s, seen.footage_s = seen.decoded_s + sparse.decoded_s, seen.footage_s + sparse.footage_s
    for profile in ("web", "inspection"):
        how = recipe(profile, burst)
        for (span, a, why), (other, b, instead) in zip(rows(exact, how, "exact"), rows(sparse, how, "sparse"), strict=True):
            assert span == other
            seen.verdicts[profile].append(bool(why) == bool(instead))
            seen.reasons[profile].append(why == instead)
            for rule in {*why} ^ {*instead}:
                seen.differ[f"{profile}: {rule} by {'exact' if rule in why else 'sparse'} only ({path.stem})"] += 1
            if profile == "web":
                _note(seen, a, b, path.stem)


def _note(seen: Seen, exact: dict[str, Any], sparse: dict[str, Any], name: str) -> None:
    for column, value in exact.items():
        if isinstance(value, float) and isinstance(sparse[column], float):
            seen.errors[column].append((value, sparse[column], name))
        elif isinstance(value, float):
            seen.missing[column] += 1
    seen.labels[exact["camera_motion"], sparse["camera_motion"]] += 1


def table(seen: Seen) -> str:
    """One row a measure."""
    lines = ["| measure | spans | exact: median | error: median | nine tenths below | largest | null in sparse alone |", "|---" * 7 + "|"]
    for column, values in seen.errors.items():
        errors = sorted(abs(a - b) for a, b, _ in values)
        middle = sorted(a for a, _, _ in values)[len(values) // 2]
        figures = (middle, errors[len(errors) // 2], errors[math.ceil(0.9 * len(errors)) - 1], errors[-1])
        lines.append(f"| `{column}` | {len(values)} | {' | '.join(f'{v:.4f}' for v in figures)} | {seen.missing[column]} |")
    lines += [f"| `{column}` | 0 |  |  |  |  | {n} |" for column, n in seen.missing.items() if column not in seen.errors]
    return "\n".join(lines)


def report(name: str, seen: Seen, targets: Targets, worst: list[str]) -> None:
    """Prints what was found on a set."""
    n = len(seen.verdicts["web"])
    print(f"\n{name}: {n} spans, {seen.decoded_s:.1f} s decoded of {seen.footage_s:.1f} s; not sparse: {dict(seen.dense) or 'none'}")
    print(table(seen))
    same = sum(k for (a, b), k in seen.labels.items() if a == b)
    print(f"label of the camera equal in {same} of {n}; others: { {f'{a} -> {b}': k for (a, b), k in seen.labels.items() if a != b} }")
    print(*(f"  {line} x {k}" for line, k in sorted(seen.differ.items())), sep="\n")
    for column in worst:
        for a, b, stem in sorted(seen.errors[column], key=lambda row: -abs(row[0] - row[1]))[:20]:
            print(f"  {column}: exact {a:.4f}, sparse {b:.4f} {stem}")
    for profile, agree in seen.verdicts.items():
        targets.at_least(f"{name}, {profile}: verdicts equal", sum(agree) / n, AGREE)
        print(f"{name}, {profile}: all reasons equal {sum(seen.reasons[profile]) / n:.3f}")


def report_cuts(gop_s: float, burst: int, codec: str, targets: Targets) -> None:
    """Cuts by content of both modes beside the known ones."""
    settings = Recipe.parse({"scan": {"mode": "sparse", "sparse_burst": burst}, "shots": {"detector": "content", "gradual": False}})
    scores = {"exact": Score(), "sparse": Score()}
    decoded_s = footage_s = 0.0
    truth = json.loads((render.DATA / "cuts" / "truth.json").read_text())
    for name, entry in truth.items():
        if not name.startswith("hard_"):
            continue
        path = grouped(render.DATA / "cuts" / name, gop_s, "cuts", codec, longest_s=math.inf)
        sparse = scan_sparse(str(path), settings, uri=name, threshold=content_threshold(settings))
        if isinstance(sparse, Dense):
            print(f"{name}: not sparse: {sparse.why}")
            continue
        exact, known = scan(str(path), Recipe()), truth_of(entry).cuts
        decoded_s, footage_s = decoded_s + sparse.decoded_s, footage_s + sparse.footage_s
        for mode, one in (("exact", exact), ("sparse", sparse)):
            scores[mode] += match_cuts(known, ours(one, settings.shots).cuts, times_of(one), 0)
    print(f"\ncuts by content, {decoded_s:.1f} s decoded of {footage_s:.1f} s")
    for mode, score in scores.items():
        print(f"{mode}: {score.hits} of {score.hits + score.misses} cuts at their frame, {score.false} false")
    targets.at_least("cuts by content, sparse / exact recall", scores["sparse"].recall / scores["exact"].recall, 0.97)


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gop", type=float, default=1.0, help="seconds between key frames")
    parser.add_argument("--burst", type=int, default=3, help="scan.sparse_burst")
    parser.add_argument("--codec", choices=("h264", "av1"), default="h264", help="how films are encoded anew")
    parser.add_argument("--columns", nargs="*", default=[], help="measures of which the 20 largest errors are printed")
    parser.add_argument("--sets", nargs="*", choices=SETS, default=SETS)
    options = parser.parse_args()
    targets = Targets()
    damaged = [row["file"] for row in json.loads((render.DATA / "quality" / "truth.json").read_text())]
    films = sorted((render.DATA / "footage").iterdir())
    for name, paths, again in (
        ("quality", [render.DATA / "quality" / file for file in damaged], True),
        ("footage", films, True),
        ("asis", films, False),
    ):
        if name not in options.sets:
            continue
        seen = Seen()
        for path in paths:
            try:
                compare(grouped(path, options.gop, name, options.codec) if again else path, seen, options.burst)
            except (VideoError, av.error.FFmpegError) as error:
                print(f"{path.name}: {error}", file=sys.stderr)
        report(NAMES.get(name, name), seen, targets, options.columns)
    if "cuts" in options.sets:
        report_cuts(options.gop, options.burst, options.codec, targets)
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
