"""Does decoding go on while captions are made? Wall time of a run against the same run with only one of the two stages to do.

    python -m benchmarks.overlap [--rounds 3] [--videos 60] [--height 720] [--clips reference] [--ray]

A caption server of fixed service time runs in another process (tests/caption_server.py); its time is chosen so that captioning takes about
as long as decoding. The run with only decoding missing has a store with captions and nothing else; the one with only captions missing a
store with all but captions. Wall is that of `rushes.run`, from the call to its return, so each includes its plan, the start of its children
and the writing of its last row. The only rule is a length of 1.1 s.

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

WITHIN = 1.15
PARALLEL = 4
"""Captions the server makes at once."""
VIDEO_S = 10.0
MIN_S = 1.1
"""Shortest clip captioned: frames are sampled once a second, so a longer one has a frame."""


@dataclass(frozen=True, slots=True)
class Walls:
    """Seconds on the wall, by round: the whole run, with only decoding missing, with only captions missing; how many captions; and
    seconds of the whole run until the server was first asked.
    """

    whole: list[float]
    decoding: list[float]
    captions: list[float]
    n_captions: int
    first_asked: list[float]

    @property
    def ratio(self) -> float:
        """Whole run by the longer of the two others: the median of the rounds, each of which compares runs that were made in a row."""
        return statistics.median(w / max(d, c) for w, d, c in zip(self.whole, self.decoding, self.captions, strict=True))


def recipe_for(base_url: str | None, more: Mapping[str, Any]) -> Recipe:
    """Every clip kept that has a frame of the grid; captions by the server, or none; and what else is asked for."""
    captions = {"engine": "openai", "base_url": base_url, "model": "tiny-vlm", "prompt": "short"} if base_url else {"engine": "none"}
    return Recipe.parse({"captions": captions, **more}).model_copy(update={"rules": {"too_short": Rule(column="duration_s", min=MIN_S)}})


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


def measure(videos: Sequence[Path], folder: Path, rounds: int, more: Mapping[str, Any] | None = None) -> Walls:
    """All runs, rounds alternating. Checks that each did just the work it was to do.

    Args:
        videos: the footage.
        folder: where stores are made.
        rounds: how often each run is made.
        more: tables of the recipe, such as `engine` and `clips`.
    """
    more = more or {}
    with start_server(parallel=PARALLEL) as server:
        recipe = recipe_for(server.base_url, more)
        wall(videos[:2], folder / "first", recipe)  # imports, and what is started once
        decode_s, counts = wall(videos, folder / "plain", recipe_for(None, more))
        n = counts["clips_kept"]
        service_s = decode_s * PARALLEL / n
        print(f"{len(videos)} videos, {n} clips, {decode_s:.1f} s without captions", flush=True)
        print(f"each caption takes {service_s:.2f} s, {PARALLEL} at once", flush=True)
        walls = Walls([], [], [], n, [])
        for i in range(rounds):
            server.control(service_s=service_s)
            finished, began = folder / f"whole{i}", time.time()
            walls.whole.append(_checked(wall(videos, finished, recipe), len(videos), n))
            walls.first_asked.append(min(seen["at"] for seen in server.stats()["requests"]) - began)
            store = without(finished, folder / f"decoding{i}", lambda table: table != "captions")
            walls.decoding.append(_checked(wall(videos, store, recipe), len(videos), 0))
            store = without(finished, folder / f"captions{i}", lambda table: table == "captions")
            walls.captions.append(_checked(wall(videos, store, recipe), 0, n))
            row = ", ".join(f"{name} {getattr(walls, name)[-1]:.2f}" for name in ("whole", "decoding", "captions", "first_asked"))
            print(f"round {i + 1}: {row} s", flush=True)
    return walls


def _checked(seen: tuple[float, dict[str, int]], scanned: int, captions: int) -> float:
    seconds, counts = seen
    if (counts["videos_scanned"], counts["captions_made"]) != (scanned, captions):
        raise RuntimeError(f"wanted {scanned} videos scanned and {captions} captions made, got {counts}")
    return seconds


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=60, help="at least 40: none may be over 3 % of the total")
    parser.add_argument("--height", type=int, default=720, choices=sorted(render.WIDTHS))
    parser.add_argument("--clips", default="reference", choices=["reference", "encode"], help="clip files, as recipe's clips.mode")
    parser.add_argument("--ray", action="store_true", help="on a cluster of two nodes")
    args = parser.parse_args()
    source = render.trimmed(render.ordinary(args.height), VIDEO_S)
    print(f"footage: {render.origin()}, {source.name} with a number in each copy; clips: {args.clips}; {'Ray' if args.ray else 'native'}")
    targets = Targets()
    more: dict[str, Any] = {"clips": {"mode": args.clips}}
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="rushes-bench-")))
        if args.ray:
            more["engine"] = {"runner": "ray", "ray_address": held.enter_context(cluster()).address}
            held.callback(leave)
        walls = measure(render.copies(source, folder / "footage", args.videos), folder, args.rounds, more)
    for label in ("whole", "decoding", "captions"):
        seconds = getattr(walls, label)
        print(f"{label:9} {statistics.median(seconds):6.2f} s wall (of {', '.join(f'{s:.2f}' for s in seconds)})")
    targets.at_most("whole run / longer of the two halves", walls.ratio, WITHIN, "x")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
