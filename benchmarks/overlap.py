"""Does decoding go on while models work? Wall time of a run against the same run with only one of its stages to do.

    python -m benchmarks.overlap [--rounds 3] [--videos 60] [--height 720] [--clips reference] [--models captions] [--ray]

A caption server of fixed service time runs in another process (tests/caption_server.py); its time is chosen so that captioning takes
about as long as decoding. With `--models scores` clips are scored instead, by a scorer that reads frames and then sleeps as long as a
device would work, which also takes as long as decoding; with `--models scores captions` first the one and then the other is done. The run
with only one stage missing has a store with the rows of all others. Wall is that of `rushes.run`, from the call to its return, so each
includes its plan, the start of its children and the writing of its last row. The only rule is a length of 1.1 s.

The scorer stands for a device, so its job asks Ray for no CPU: with the default of one, a process of a cluster of two CPUs that scores
would leave one for decoding.

With `--clips encode` the kept clips are encoded too, by the same children: "decoding" then is all that is done with a CPU. With `--ray`
the runs go to a cluster of two nodes with one CPU each on this machine (tests/ray_cluster.py). A run over two videos comes first and is not
counted: imports, the connection to the cluster and the first processes on its nodes are in none of the figures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import render
from benchmarks.targets import Targets
from rushes import api
from rushes.ray_cluster import leave
from rushes.recipe import Recipe, Rule

sys.path.insert(0, str(render.ROOT / "tests"))
from caption_server import start_server  # the server of the tests
from ray_cluster import cluster  # their cluster
from timed_scorer import TIME_OF_A_CLIP  # their scorer

WITHIN = 1.15
PARALLEL = 4
"""Captions the server makes at once."""
VIDEO_S = 10.0
MIN_S = 1.1
"""Shortest clip captioned: frames are sampled once a second, so a longer one has a frame."""


STAGES = {"decoding": ("scans", "videos_scanned"), "scores": ("scores", "scores_made"), "captions": ("captions", "captions_made")}
"""What is measured alone -> the table that is left in the store, or "scans" for all others; and the count of what is made."""


@dataclass(frozen=True, slots=True)
class Walls:
    """Seconds on the wall, by round.

    Attributes:
        whole: of the whole run.
        alone: stage -> of the run in which only this stage is missing.
        n_clips: clips that are kept.
        first_asked: of the whole run, until the caption server was first asked; empty without captions.
    """

    whole: list[float]
    alone: dict[str, list[float]]
    n_clips: int
    first_asked: list[float]

    @property
    def ratio(self) -> float:
        """Whole run by the longest of the others: the median of the rounds, each of which compares runs that were made in a row."""
        return statistics.median(w / max(alone) for w, *alone in zip(self.whole, *self.alone.values(), strict=True))


def recipe_for(base_url: str | None, more: Mapping[str, Any], scores: bool = False) -> Recipe:
    """Every clip kept that has a frame of the grid; captions by the server, or none; scores, if asked for; and what else is asked for."""
    captions = {"engine": "openai", "base_url": base_url, "model": "tiny-vlm", "prompt": "short"} if base_url else {"engine": "none"}
    timed = {"scores": {"use": ["timed_scorer:Timed"]}, "resources": {"scores": {"cpus": 0}}} if scores else {}
    rules = {"too_short": Rule(column="duration_s", min=MIN_S)}
    return Recipe.parse({"captions": captions, **timed, **more}).model_copy(update={"rules": rules})


def wall(videos: Sequence[Path], store: Path, recipe: Recipe) -> tuple[float, dict[str, int]]:
    """Seconds of a run, and its counts."""
    began = time.perf_counter()
    result = api.run(videos, out=store, recipe=recipe)
    return time.perf_counter() - began, result.counts


def without(finished: Path, store: Path, tables: Callable[[str], bool]) -> Path:
    """A copy of a store without some of its tables."""
    shutil.copytree(finished, store)
    for folder in [f for f in store.iterdir() if f.is_dir() and tables(f.name)]:
        shutil.rmtree(folder)
    return store


def lacks(stage: str) -> Callable[[str], bool]:
    """Which tables a store is to lose so that only one stage is missing."""
    table, later = STAGES[stage][0], {table for table, _ in STAGES.values()}
    return (lambda name: name not in later) if table == "scans" else (lambda name: name == table)


def measure(
    videos: Sequence[Path], folder: Path, rounds: int, more: Mapping[str, Any] | None = None, models: Sequence[str] = ("captions",)
) -> Walls:
    """All runs, rounds alternating. Checks that each did just the work it was to do.

    Args:
        videos: the footage.
        folder: where stores are made.
        rounds: how often each run is made.
        more: tables of the recipe, such as `engine` and `clips`.
        models: what is done with clips: "captions", "scores", or both; scores need TIME_OF_A_CLIP among the variables of the environment.
    """
    more = more or {}
    stages, scores = ["decoding", *models], "scores" in models
    with start_server(parallel=PARALLEL) as server:
        recipe = recipe_for(server.base_url if "captions" in models else None, more, scores)
        if scores:
            Path(os.environ[TIME_OF_A_CLIP]).write_text("0")
        wall(videos[:2], folder / "first", recipe)  # imports, and what is started once
        decode_s, counts = wall(videos, folder / "plain", recipe_for(None, more))
        n = counts["clips_kept"]
        service_s = decode_s * PARALLEL / n
        print(f"{len(videos)} videos, {n} clips, {decode_s:.1f} s without captions", flush=True)
        print(f"a caption takes {service_s:.2f} s, {PARALLEL} at once", flush=True)
        if scores:
            Path(os.environ[TIME_OF_A_CLIP]).write_text(str(decode_s / n))
            print(f"the scores of a clip take {decode_s / n:.3f} s", flush=True)
        walls = Walls([], {stage: [] for stage in stages}, n, [])
        made = {"videos_scanned": len(videos), "scores_made": n, "captions_made": n}
        for i in range(rounds):
            server.control(service_s=service_s)
            finished, began = folder / f"whole{i}", time.time()
            walls.whole.append(_checked(wall(videos, finished, recipe), {STAGES[stage][1]: made[STAGES[stage][1]] for stage in stages}))
            if "captions" in models:
                walls.first_asked.append(min(seen["at"] for seen in server.stats()["requests"]) - began)
            for stage in stages:
                store = without(finished, folder / f"{stage}{i}", lacks(stage))
                only = {STAGES[other][1]: made[STAGES[other][1]] if other == stage else 0 for other in stages}
                walls.alone[stage].append(_checked(wall(videos, store, recipe), only))
            alone = ", ".join(f"{stage} {seconds[-1]:.2f}" for stage, seconds in walls.alone.items())
            asked = f", first asked {walls.first_asked[-1]:.2f}" if walls.first_asked else ""
            print(f"round {i + 1}: whole {walls.whole[-1]:.2f}, {alone}{asked} s", flush=True)
    return walls


def _checked(seen: tuple[float, dict[str, int]], wanted: Mapping[str, int]) -> float:
    seconds, counts = seen
    if wrong := {name: counts.get(name, 0) for name, n in wanted.items() if counts.get(name, 0) != n}:
        raise RuntimeError(f"wanted {dict(wanted)}, got {wrong}")
    return seconds


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=60, help="at least 40: none may be over 3 % of the total")
    parser.add_argument("--height", type=int, default=720, choices=sorted(render.WIDTHS))
    parser.add_argument("--clips", default="reference", choices=["reference", "encode"], help="clip files, as recipe's clips.mode")
    parser.add_argument(
        "--models", nargs="+", default=["captions"], choices=["scores", "captions"], help="what is done with clips, in order"
    )
    parser.add_argument("--ray", action="store_true", help="on a cluster of two nodes")
    args = parser.parse_args()
    source = render.trimmed(render.ordinary(args.height), VIDEO_S)
    print(f"footage: {render.origin()}, {source.name} with a number in each copy; clips: {args.clips}; {'Ray' if args.ray else 'native'}")
    targets = Targets()
    more: dict[str, Any] = {"clips": {"mode": args.clips}}
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="rushes-bench-")))
        os.environ[TIME_OF_A_CLIP] = str(folder / "time_of_a_clip")
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # the processes that score find the scorer of the tests
        if args.ray:
            more["engine"] = {"runner": "ray", "ray_address": held.enter_context(cluster()).address}
            held.callback(leave)
        walls = measure(render.copies(source, folder / "footage", args.videos), folder, args.rounds, more, args.models)
    for label, seconds in {"whole": walls.whole, **walls.alone}.items():
        print(f"{label:9} {statistics.median(seconds):6.2f} s wall (of {', '.join(f'{s:.2f}' for s in seconds)})")
    targets.at_most("whole run / longest of its stages alone", walls.ratio, WITHIN, "x")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
