"""As many workers as cores, each with one thread, against the same workers with the libraries' own thread counts.

    python -m benchmarks.workers [--rounds 3] [--videos 16]

Both are real runs without captions, from the call of `rushes.run` to its return, children started anew in each; rounds alternate. What
differs is the child: `rushes.engine.work.child` with the guard's environment, or `benchmarks.default_child` without.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks import default_child, render
from benchmarks.clock import Cost, cost
from benchmarks.memory import decoding_children
from benchmarks.targets import Targets
from rushes import api
from rushes.engine import worker
from rushes.machine import cores
from rushes.media import guard
from rushes.recipe import Recipe

VIDEO_S = 10.0
KINDS = {"one thread": (worker.MODULE, guard.CHILD_ENV), "defaults": (default_child.__name__, guard.ALLOCATOR)}
"""What is compared -> the child's module and environment. Both have the allocator's settings."""


@contextmanager
def children(kind: str) -> Iterator[str]:
    """Runs of this process start children of this kind; gives their module."""
    module, env = KINDS[kind]
    with patch.object(worker, "MODULE", module), patch.object(guard, "CHILD_ENV", env), patch.dict(os.environ):
        for name in guard.THREADS:
            os.environ.pop(name, None)
        yield module


def one_run(videos: Sequence[Path], store: Path, kind: str) -> tuple[Cost, int, int]:
    """A run with children of a kind: (what it cost, the most threads that a child was seen to have, clips found)."""
    threads = [0]

    def look(_tally: object) -> None:
        for pid in decoding_children(module):
            threads.append(threads_of(pid))

    def work() -> None:
        counts.update(api.run(videos, out=store, recipe=recipe, watch=look).counts)

    recipe = Recipe.parse({"captions": {"engine": "none"}, "resources": {"scan": {"concurrency": cores()}}})
    counts: dict[str, int] = {}
    with children(kind) as module:
        spent = cost(work)
    if counts["videos_scanned"] != len(videos):
        raise RuntimeError(f"wanted {len(videos)} videos scanned, got {counts}")
    return spent, max(threads), counts["clips_kept"] + counts["clips_dropped"]


def threads_of(pid: int) -> int:
    """Threads of a process; 0 when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def measure(videos: Sequence[Path], folder: Path, rounds: int) -> dict[str, list[Cost]]:
    """Costs by kind and round; says how many threads each kind had, and checks that both found the same clips."""
    costs: dict[str, list[Cost]] = {kind: [] for kind in KINDS}
    found = set()
    one_run(videos[:2], folder / "first", "one thread")  # imports of this process, in no figure
    for i in range(rounds):
        for kind, seen in costs.items():
            spent, threads, clips = one_run(videos, folder / f"{kind}{i}", kind)
            seen.append(spent)
            found.add(clips)
            print(f"{kind:10} {spent.wall_s:6.2f} s wall {spent.cpu_s:6.2f} CPU-s, {threads} threads a child", flush=True)
    if len(found) != 1:
        raise RuntimeError(f"thread counts changed the clips: {found}")
    return costs


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--height", type=int, default=720, choices=sorted(render.WIDTHS))
    args = parser.parse_args()
    source = render.trimmed(render.ordinary(args.height), VIDEO_S)
    print(f"footage: {render.origin()}, {args.videos} of {source.name}; {cores()} workers")
    targets = Targets()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
        costs = measure(render.copies(source, Path(name) / "footage", args.videos), Path(name), args.rounds)
    for label, unit in (("wall_s", "s wall"), ("cpu_s", "CPU-s")):
        ours, defaults = (statistics.median(getattr(c, label) for c in costs[kind]) for kind in KINDS)
        targets.at_least(f"defaults / one thread, {unit}", defaults / ours, 1.0, "x")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
