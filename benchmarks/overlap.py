"""Does decoding go on while captions are made? Wall time of a run against the same run with one of the two already done.

    python -m benchmarks.overlap [--rounds 3] [--videos 60]

A caption server of fixed service time runs in another process (tests/caption_server.py); its time is chosen so that captioning takes about
as long as decoding. The run with only decoding missing has a store with captions and nothing else; the one with only captions missing a
store with all but captions. Wall is that of `rushes.run`, from the call to its return. The only rule is a length of 1.1 s.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import render
from benchmarks.targets import Targets
from rushes import api
from rushes.recipe import Recipe, Rule

sys.path.insert(0, str(render.ROOT / "tests"))
from caption_server import start_server  # the server of the tests

WITHIN = 1.15
PARALLEL = 4
"""Captions the server makes at once."""
VIDEO_S = 10.0
MIN_S = 1.1
"""Shortest clip captioned: frames are sampled once a second, so a longer one has a frame."""


@dataclass(frozen=True, slots=True)
class Walls:
    """Seconds on the wall, by round: the whole run, with only decoding missing, with only captions missing; and how many captions."""

    whole: list[float]
    decoding: list[float]
    captions: list[float]
    n_captions: int

    @property
    def ratio(self) -> float:
        """Whole run by the longer of the two others, medians."""
        return statistics.median(self.whole) / max(statistics.median(self.decoding), statistics.median(self.captions))


def recipe_for(base_url: str | None) -> Recipe:
    """Every clip kept that has a frame of the grid; captions by the server, or none."""
    captions = {"engine": "openai", "base_url": base_url, "model": "tiny-vlm", "prompt": "short"} if base_url else {"engine": "none"}
    return Recipe.parse({"captions": captions}).model_copy(update={"rules": {"too_short": Rule(column="duration_s", min=MIN_S)}})


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


def measure(videos: Sequence[Path], folder: Path, rounds: int) -> Walls:
    """All runs, rounds alternating. Checks that each did just the work it was to do."""
    decode_s, counts = min((wall(videos, folder / f"plain{i}", recipe_for(None)) for i in range(2)), key=lambda seen: seen[0])
    n = counts["clips_kept"]
    walls = Walls([], [], [], n)
    service_s = decode_s * PARALLEL / n
    print(f"{len(videos)} videos, {n} clips, {decode_s:.1f} s without captions", flush=True)
    print(f"each caption takes {service_s:.2f} s, {PARALLEL} at once", flush=True)
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with start_server(service_s=service_s, parallel=PARALLEL) as server:
        recipe = recipe_for(server.base_url)
        for i in range(rounds):
            finished = folder / f"whole{i}"
            walls.whole.append(_checked(wall(videos, finished, recipe), len(videos), n))
            store = without(finished, folder / f"decoding{i}", lambda table: table != "captions")
            walls.decoding.append(_checked(wall(videos, store, recipe), len(videos), 0))
            store = without(finished, folder / f"captions{i}", lambda table: table == "captions")
            walls.captions.append(_checked(wall(videos, store, recipe), 0, n))
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
    args = parser.parse_args()
    source = render.trimmed(render.ordinary(720), VIDEO_S)
    print(f"footage: {render.origin()}, {source.name} with a number in each copy")
    targets = Targets()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
        folder = Path(name)
        walls = measure(render.copies(source, folder / "footage", args.videos), folder, args.rounds)
    for label in ("whole", "decoding", "captions"):
        seconds = getattr(walls, label)
        print(f"{label:9} {statistics.median(seconds):6.2f} s wall (of {', '.join(f'{s:.2f}' for s in seconds)})")
    targets.at_most("whole run / longer of the two halves", walls.ratio, WITHIN, "x")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
