"""What the one pass costs beside an empty decode of the same file, where the CPU goes, and what a run adds for each further video.

    python -m benchmarks.scan [--rounds 5] [--sparse]

The floor is `for frame in container.decode(video=0): pass` with PyAV, one thread, no option set. The pass has everything on: signals, grid
measures, frames as JPEG (thrown away). Rounds alternate between floor, exact and fast; figures are medians of CPU-seconds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import av
import cv2

from benchmarks import render
from benchmarks.clock import Cost, cost, medians
from benchmarks.targets import Targets
from benchmarks.threads import as_at_the_prompt, as_in_a_child
from rushes.media.batch import Batch
from rushes.media.bursts import Bursts
from rushes.recipe import Recipe
from rushes.records import Column, Mode, VideoFacts
from rushes.scan.dense import DenseMotion
from rushes.scan.grid import Grid
from rushes.scan.meters import Meters, make_meters
from rushes.scan.one_pass import scan
from rushes.scan.sparse import Dense, scan_sparse

RUSHES = Path(sys.executable).with_name("rushes")
SPARSE: dict[tuple[int, str, int], float] = {(720, "h264", 30): 0.32, (720, "h264", 60): 0.20, (1080, "hevc", 60): 0.15}
"""Height, codec and frames from key frame to key frame -> CPU-seconds of a sparse pass per CPU-second of the floor, at most."""
BOUNDS: dict[int, dict[Mode, float]] = {720: {"exact": 1.20, "fast": 0.75}, 1080: {"exact": 1.15, "fast": 0.70}}
"""Height of ordinary x264 footage -> mode -> CPU-seconds of the pass per CPU-second of the floor, at most."""
ADDED = 0.15
"""What `rushes run` may add to the scan for each further video, in floors of that video."""
RUN_VIDEOS = 8
RUN_VIDEO_S = 10.0


def floor(path: Path, options: dict[str, str] | None = None) -> int:
    """An empty decode, one thread; gives the number of frames."""
    n = 0
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        context.thread_type, context.thread_count = "NONE", 1
        context.options = options or {}
        for _ in container.decode(video=0):
            n += 1
    return n


def whole(path: Path, mode: Mode) -> None:
    """The pass with everything on."""
    recipe = Recipe.parse({"scan": {"mode": mode}})
    if mode != "sparse":
        scan(str(path), recipe, on_frame=lambda _frame: None)
    elif isinstance(found := scan_sparse(str(path), recipe, uri=path.name, on_frame=lambda _frame: None), Dense):
        raise RuntimeError(f"{path} was not scanned in sparse mode: {found.why}")


class Unmeasured:
    """A batch meter that measures nothing: with it alone the pass decodes and shrinks."""

    columns: tuple[Column, ...] = ()

    def push(self, batch: Batch) -> None:
        """Takes the batch."""

    def finish(self) -> dict[str, object]:
        """No signal."""
        return {}


def shares(path: Path, rounds: int) -> dict[str, float]:
    """Where the CPU of an exact pass goes, by leaving things out; the shares add up to 1.

    Each step of the ladder adds one thing to the step before: an empty decode with the pass's own decoder options; the pass's loop without
    meters; shrinking; signals of every frame; grid measures and dense motion; JPEG.
    """
    recipe = Recipe()

    def passing(meters: Callable[[VideoFacts], Meters]) -> Callable[[], object]:
        return lambda: scan(str(path), recipe, meters=meters)

    def every_frame(facts: VideoFacts) -> Meters:
        full = make_meters(facts, recipe)
        return Meters(tuple(m for m in full.by_frame if not isinstance(m, Grid | DenseMotion)), full.by_batch)

    ladder: dict[str, Callable[[], object]] = {
        "decode": partial(floor, path, {"skip_loop_filter": "noref"}),
        "Python": passing(lambda _facts: Meters((), ())),
        "shrink": passing(lambda _facts: Meters((), (Unmeasured(),))),  # type: ignore[arg-type]
        "per-frame signals": passing(every_frame),
        "grid work": passing(lambda facts: make_meters(facts, recipe)),
        "JPEG": partial(whole, path, "exact"),
    }
    seen = medians(ladder, rounds)
    total, before, out = seen["JPEG"].cpu_s, 0.0, {}
    for name, step in seen.items():
        out[name] = (step.cpu_s - before) / total
        before = step.cpu_s
    return out


def compare(path: Path, rounds: int, modes: Iterable[Mode] = ("exact", "fast")) -> dict[str, Cost]:
    """Medians of the floor and of passes in some modes on one file."""
    return medians({"floor": partial(floor, path), **{mode: partial(whole, path, mode) for mode in modes}}, rounds)


def added(source: Path, n: int, rounds: int) -> tuple[float, dict[str, float]]:
    """What `rushes run` costs for each further video beyond its scan, in floors of the video; and the CPU-seconds behind it.

    A run over 2 n files less a run over n files, by n: what a run costs once falls out. Children count; one worker, so that no decoder
    competes with another for the memory bus.
    """
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        render.copies(source, few, n)
        render.copies(source, many, 2 * n)
        stores = iter(range(10_000))

        def running(footage: Path) -> Callable[[], object]:
            return lambda: run(footage, Path(folder) / f"store{next(stores)}")

        works = {"n": running(few), "2n": running(many), "floor": partial(floor, source), "exact": partial(whole, source, "exact")}
        seen: dict[str, list[Cost]] = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                seen[name].append(cost(work))
    further = statistics.median((b.cpu_s - a.cpu_s) / n for a, b in zip(seen["n"], seen["2n"], strict=True))
    middle = {name: statistics.median(c.cpu_s for c in costs) for name, costs in seen.items()} | {"further": further}
    return (further - middle["exact"]) / middle["floor"], middle


def run(footage: Path, store: Path) -> None:
    """`rushes run` without captions, one worker."""
    settings = ["--set", "captions.engine=none", "--set", "resources.scan.concurrency=1"]
    command = [RUSHES, "run", footage, "--out", store, *settings]
    subprocess.run(command, check=True, env=as_at_the_prompt(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def sparse_shares(path: Path, rounds: int) -> dict[str, float]:
    """Where the CPU of a sparse pass goes, in floors: packets read, bursts decoded, and the rest."""

    def bursts(*, decode: bool) -> None:
        with Bursts(str(path), uri="", size_bytes=0, stream=None, n=3, longest_s=4.0, keep=False, progress=None) as reader:
            for group in reader.groups():
                if decode:
                    reader.decode_burst(group)

    ladder: dict[str, Callable[[], object]] = {
        "packets": partial(bursts, decode=False),
        "bursts": partial(bursts, decode=True),
        "signals and JPEG": partial(whole, path, "sparse"),
        "floor": partial(floor, path),
    }
    seen, before, out = medians(ladder, rounds), 0.0, {}
    base = seen.pop("floor").cpu_s
    for name, step in seen.items():
        out[name] = (step.cpu_s - before) / base
        before = step.cpu_s
    return out


def report(path: Path, rounds: int, targets: Targets, bounds: dict[Mode, float], modes: Iterable[Mode] = ("exact", "fast")) -> None:
    """Compares one file and prints it."""
    found = compare(path, rounds, modes)
    base, frames = found["floor"], floor(path)
    for name, one in found.items():
        line = f"{path.name:18} {name:6} {one.cpu_s:7.3f} CPU-s {one.wall_s:7.3f} s wall {1000 * one.cpu_s / frames:6.2f} ms a frame"
        print(line, "" if name == "floor" else f"{one.cpu_s / base.cpu_s:6.2f} x CPU {one.wall_s / base.wall_s:6.2f} x wall", flush=True)
    for mode, bound in bounds.items():
        targets.at_most(f"{path.name} {mode} / floor", found[mode].cpu_s / base.cpu_s, bound, "x")


def report_sparse(rounds: int, targets: Targets) -> None:
    """Compares sparse passes with the floor."""
    for (height, codec, gop), bound in SPARSE.items():
        path = render.ordinary(height, codec, gop)
        report(path, rounds, targets, {"sparse": bound}, ("exact", "sparse"))
        words = ", ".join(f"{name} {share:.3f}" for name, share in sparse_shares(path, max(1, rounds - 2)).items())
        print(f"sparse pass, in floors: {words}", flush=True)


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sparse", action="store_true", help="the figures of sparse mode alone")
    options = parser.parse_args()
    rounds = options.rounds
    as_in_a_child("benchmarks.scan")
    cv2.setNumThreads(1)
    if options.sparse:
        targets = Targets()
        report_sparse(rounds, targets)
        return targets.close()
    videos = [(render.ordinary(height), BOUNDS.get(height, {})) for height in (360, 720, 1080)]
    others = [render.ordinary(720, codec) for codec in ("hevc", "vp9", "av1")]
    print(f"footage: {render.origin()}")
    targets = Targets()
    for path, bounds in videos:
        report(path, rounds, targets, bounds)
    for path in others:
        report(path, max(1, rounds - 2), targets, {})
    report_sparse(rounds, targets)
    for height in (720, 1080):
        parts = shares(render.ordinary(height), max(1, rounds - 2))
        words = ", ".join(f"{name} {share:.1%}" for name, share in parts.items())
        print(f"exact pass at {height}p: {words}; sum {sum(parts.values()):.3f}", flush=True)
    ratio, costs = added(render.trimmed(render.ordinary(720), RUN_VIDEO_S), RUN_VIDEOS, max(1, rounds - 2))
    print(", ".join(f"{name} {cpu_s:.3f} CPU-s" for name, cpu_s in costs.items()))
    targets.at_most("rushes run, each further video, beyond scan", ratio, ADDED, "floors")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
